package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/cyrusbackup/backupd/internal/master"
)

// receive serves other processes until Retire; l is the receiver's lock.
func (r *Member) receive(l *lock) error {
	defer l.unlock()
	ln, err := r.sock.listen()
	if err != nil {
		return fmt.Errorf("listen on %s.sock: %w", r.cfg.Index, err)
	}
	defer r.sock.remove()
	stop := context.AfterFunc(r.ctx, func() { ln.Close() })
	defer stop()
	r.setKeeps(true)
	defer r.setKeeps(false)
	r.waits.Go(r.waitIndex)
	r.settle(nil)
	for {
		c, err := ln.AcceptUnix()
		switch {
		case err == nil:
			go r.answer(c)
		case errors.Is(err, net.ErrClosed): // by Retire
			return nil
		default: // probably out of descriptors, which ending connections free
			r.log.Error("accept a hand-over", slog.Any("err", err))
			select {
			case <-r.ctx.Done():
			case <-time.After(pauseMax):
			}
		}
	}
}

// answer serves a process that connected to the socket.
func (r *Member) answer(c *net.UnixConn) {
	defer c.Close()
	if err := r.serve(c); err != nil && r.ctx.Err() == nil {
		r.log.Warn("hand-over", slog.Any("err", err))
	}
}

func (r *Member) serve(c *net.UnixConn) error {
	if err := peerIsUs(c); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	var h hello
	files, err := receive(c, &h)
	closeAll(files)
	if err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	w := welcome{PID: os.Getpid(), Version: version, Fingerprint: r.cfg.Fingerprint}
	w.Refused = h.Version != version || h.Fingerprint != r.cfg.Fingerprint
	if err := send(c, w); err != nil {
		return fmt.Errorf("welcome process %d: %w", h.PID, err)
	}
	if w.Refused {
		return fmt.Errorf("refused process %d, its settings differ", h.PID)
	}
	if h.Purpose != purposePass {
		return r.beWatched(c)
	}
	if err := r.take(c); err != nil {
		return fmt.Errorf("take a connection from process %d: %w", h.PID, err)
	}
	return nil
}

// beWatched keeps c open until either side closes it. The other side sends nothing more.
func (r *Member) beWatched(c *net.UnixConn) error {
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(r.ctx, func() { c.Close() })
	defer stop()
	var none word
	files, _ := receive(c, &none)
	closeAll(files)
	return nil
}

// take takes over one connection, which belongs to the sender until "taken" is delivered.
func (r *Member) take(c *net.UnixConn) error {
	place, err := r.cfg.Reserve(r.ctx)
	if errors.Is(err, master.ErrEnding) || errors.Is(err, context.Canceled) {
		return nil // the sender asks the next receiver
	}
	if err != nil {
		return err
	}
	conn, err := r.takePlaced(c)
	if err != nil {
		place.Free()
		return err
	}
	place.Serve(conn)
	return nil
}

func (r *Member) takePlaced(c *net.UnixConn) (*master.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return nil, err
	}
	if err := send(c, word{wordReady}); err != nil {
		return nil, err
	}
	var p pass
	files, err := receive(c, &p)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	if len(files) != 1 {
		return nil, fmt.Errorf("%d descriptors", len(files))
	}
	nc, err := net.FileConn(files[0])
	if err != nil {
		return nil, err
	}
	if err := send(c, word{wordTaken}); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return &master.Conn{Conn: nc, Options: p.Options}, nil
}
