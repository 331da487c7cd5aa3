// Package control is the socket on which the tools ask a running daemon for operations that need
// the index, which only the daemon has open. Each connection has one request and one reply, as JSON
// lines over a UNIX socket that only the daemon's user and root may use.
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

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/peercred"
	"github.com/cyrusbackup/backupd/internal/unixsocket"
)

// ErrNoDaemon means that no process listens at the socket.
var ErrNoDaemon = errors.New("no backupd is running on this host")

// Request is a request of a tool.
type Request struct {
	Op   string `json:"op"`   // reindex
	Path string `json:"path"` // backup, as user/anne
}

// Reply is the daemon's answer. An empty Error means success.
type Reply struct {
	Error string `json:"error,omitempty"`
}

// maxRequest limits a request, in bytes.
const maxRequest = 64 << 10

// Server answers requests.
type Server struct {
	listener *net.UnixListener
	handle   func(context.Context, Request) Reply
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// Listen starts to answer at the path. It replaces an old socket, because the caller owns the index
// and so no other daemon uses it.
func Listen(path string, log *slog.Logger, handle func(context.Context, Request) Reply) (*Server, error) {
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
	s.work.Go(s.accept)
	return s, nil
}

// Close stops the server. It cancels running requests, and waits until they are answered.
func (s *Server) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.work.Wait()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			if s.ctx.Err() == nil {
				s.log.Error("control socket", "err", err)
			}
			return
		}
		s.work.Go(func() { s.serve(c) })
	}
}

func (s *Server) serve(c *net.UnixConn) {
	defer c.Close()
	if err := checkPeer(c); err != nil {
		s.log.Warn("control socket: refused", "err", err)
		return
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	// Interrupts only the wait for a request: a cancelled handler reports that in its answer.
	defer context.AfterFunc(s.ctx, func() { _ = c.SetReadDeadline(time.Now()) })()
	var r Request
	reply := Reply{Error: "invalid request"}
	if err := json.NewDecoder(io.LimitReader(c, maxRequest)).Decode(&r); err == nil {
		reply = s.handle(s.ctx, r)
	}
	if err := json.NewEncoder(c).Encode(reply); err != nil {
		s.log.Info("control socket: the tool has disconnected", "err", err)
	}
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

// Ask sends a request to the daemon and waits for the answer. It returns ErrNoDaemon if none runs.
func Ask(ctx context.Context, path string, r Request) (Reply, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return Reply{}, fmt.Errorf("%w (%s)", ErrNoDaemon, path)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("control socket: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return Reply{}, fmt.Errorf("control socket: %w", err)
	}
	var reply Reply
	if err := json.NewDecoder(c).Decode(&reply); err != nil {
		if ctx.Err() != nil {
			return Reply{}, ctx.Err()
		}
		return Reply{}, fmt.Errorf("control socket: the daemon ended without an answer: %w", err)
	}
	return reply, nil
}
