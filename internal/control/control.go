// Package control is the socket on which the tools ask a running daemon for what only the daemon
// can do: it has the index open, and can profile itself. Each connection has one request. The
// answer is any number of parts and then one reply, as JSON lines over a UNIX socket that only the
// daemon's user and root may use.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/peercred"
	"github.com/cyrusbackup/backupd/internal/unixsocket"
)

// ErrNoDaemon means that no process listens at the socket.
var ErrNoDaemon = errors.New("no backupd is running on this host")

// Request is a request of a tool.
type Request struct {
	Op   string `json:"op"`             // ping, reindex, list, stat, measured, changed, status, forget-server, profile
	Path string `json:"path,omitempty"` // reindex: backup, as user/anne
	Kind string `json:"kind,omitempty"` // profile
	// Client is a mail server, as in partitions.ServerStatus; forget-server.
	Client string        `json:"client,omitempty"`
	For    time.Duration `json:"for,omitempty"` // profile
	// Values are what the tool found out, for the next one; measured.
	Values json.RawMessage `json:"values,omitempty"`
}

// Reply is the end of the daemon's answer. An empty Error means success.
type Reply struct {
	Error string `json:"error,omitempty"`
	// Note is a remark about a complete answer, for the operator.
	Note string `json:"note,omitempty"`
	// Part is a part of the answer, and the reply not its end.
	Part json.RawMessage `json:"part,omitempty"`
}

// Handler answers a request. It may send parts of the answer first, as JSON. An error of part
// means that the tool is gone, or does not read.
type Handler func(ctx context.Context, r Request, part func(v any) error) Reply

const (
	// maxRequest limits a request, in bytes.
	maxRequest = 64 << 10
	// requestTime limits how long a tool may take to send its request.
	requestTime = 10 * time.Second
	// writeTime limits how long a tool may leave a part or a reply unread.
	writeTime = 30 * time.Second
	// acceptPause is the pause after a failed accept. The usual cause, no free file descriptors,
	// ends when connections end.
	acceptPause = 100 * time.Millisecond
)

// Server answers requests.
type Server struct {
	listener *net.UnixListener
	handle   Handler
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// Listen starts to answer at the path. It replaces an old socket, because the caller owns the index
// and so no other daemon uses it.
func Listen(path string, log *slog.Logger, handle Handler) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := unixsocket.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	s := &Server{listener: l, handle: handle, log: log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(func() { s.accept(l.AcceptUnix) })
	return s, nil
}

// Close stops the server. It cancels running requests, and waits until they are answered.
func (s *Server) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.work.Wait()
	return err
}

// accept serves connections until Close. A failed accept is logged and repeated: the socket would
// otherwise be dead for the rest of the daemon's life.
func (s *Server) accept(next func() (*net.UnixConn, error)) {
	failed := false
	for s.ctx.Err() == nil {
		c, err := next()
		switch {
		case err == nil:
			failed = false
			s.work.Go(func() { s.serve(c) })
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case !failed:
			s.log.Error("control socket: the tools cannot connect; trying again", "err", err)
		}
		failed = true
		select {
		case <-time.After(acceptPause):
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) serve(c *net.UnixConn) {
	defer c.Close()
	if err := checkPeer(c); err != nil {
		s.log.Warn("control socket: refused", "err", err)
		return
	}
	if err := c.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return
	}
	// Interrupts only the wait for a request: a cancelled handler reports that in its answer.
	defer context.AfterFunc(s.ctx, func() { _ = c.SetReadDeadline(time.Now()) })()
	var r Request
	reply := Reply{Error: "invalid request"}
	if err := json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&r); err == nil {
		reply = s.handle(s.ctx, r, func(v any) error { return sendPart(c, v) })
	}
	if err := send(c, reply); err != nil {
		s.log.Info("control socket: the tool has disconnected", "err", err)
	}
}

func sendPart(c *net.UnixConn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return send(c, Reply{Part: b})
}

// send writes a line to a tool that reads. Another one must not hold the daemon's resources.
func send(c *net.UnixConn, r Reply) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	return json.NewEncoder(c).Encode(r)
}

// checkPeer accepts the daemon's own user and root.
func checkPeer(c *net.UnixConn) error {
	cred, err := peercred.Get(c)
	if err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("uid %d may not use the control socket", cred.Uid)
	}
	return nil
}
