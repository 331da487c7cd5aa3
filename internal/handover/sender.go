package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/internal/master"
)

// Pass passes c to the receiver if that is another process, and reports whether it did. Then c is
// closed, without the client noticing. Otherwise c is unchanged and this process serves it. Nothing
// may have been read from or written to c, which must be a socket.
//
// Pass waits while the receiver has no room. If ctx ends, or no process answers for some seconds,
// c stays here.
func (r *Member) Pass(ctx context.Context, c *master.Conn) bool {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	last, pause := time.Now(), pauseMin
	for {
		kept, keeps := r.kept()
		if kept {
			return false
		}
		select {
		case r.passing <- struct{}{}:
		default:
			select {
			case r.passing <- struct{}{}:
				last = time.Now()
			case <-keeps:
				continue
			case <-ctx.Done():
				return false
			}
		}
		heard, err := r.handOver(ctx, sc, c.Options)
		<-r.passing
		if err == nil {
			_ = c.Close()
			return true
		}
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			r.cfg.Conflict(err)
			return false
		}
		if heard {
			last, pause = time.Now(), pauseMin
		}
		if ctx.Err() != nil {
			return false
		}
		if time.Since(last) > answerTimeout {
			r.log.Warn("no process accepts the connection; it waits here", slog.String("peer", c.Peer), slog.Any("err", err))
			return false
		}
		select {
		case <-keeps:
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
}

// handOver tries once; nil means that the receiver has the connection. heard reports whether there
// was a receiver, even if it disappeared later.
func (r *Member) handOver(ctx context.Context, sc syscall.Conn, o master.Options) (heard bool, err error) {
	u, err := r.greet(ctx, purposePass)
	if err != nil {
		return false, err
	}
	defer u.Close()
	// Only ctx limits the wait for room.
	if err := u.SetDeadline(time.Time{}); err != nil {
		return true, err
	}
	stop := context.AfterFunc(ctx, func() { _ = u.SetDeadline(time.Unix(1, 0)) })
	err = expect(u, wordReady)
	if !stop() {
		return true, ctx.Err()
	}
	if err != nil {
		return true, err
	}
	if err := u.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return true, err
	}
	if err := sendDescriptor(u, sc, pass{o}); err != nil {
		return true, fmt.Errorf("pass the connection: %w", err)
	}
	return true, awaitTaken(u)
}

// awaitTaken decides who owns the connection. If there is no answer in time, our side is shut down
// for reading: a later "taken" of the receiver fails with EPIPE and it drops the connection, while
// a "taken" sent before can still be read. (Linux, net/unix/af_unix.c: unix_stream_sendmsg checks
// the shutdown and queues under one lock.)
func awaitTaken(u *net.UnixConn) error {
	err := expect(u, wordTaken)
	if err == nil {
		return nil
	}
	if errShut := u.CloseRead(); errShut != nil && !errors.Is(errShut, syscall.ENOTCONN) {
		return err
	}
	if errTime := u.SetDeadline(time.Now().Add(answerLimit)); errTime != nil {
		return err
	}
	if expect(u, wordTaken) == nil {
		return nil
	}
	return err
}

func sendDescriptor(u *net.UnixConn, sc syscall.Conn, p pass) error {
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = send(u, p, int(fd)) }); err != nil {
		return err
	}
	return sendErr
}

func expect(u *net.UnixConn, want string) error {
	var w word
	files, err := receive(u, &w)
	closeAll(files)
	if err != nil {
		return fmt.Errorf("wait for %q: %w", want, err)
	}
	if w.Word != want {
		return fmt.Errorf("got %q instead of %q", w.Word, want)
	}
	return nil
}

// greet connects to the receiver and compares fingerprints.
func (r *Member) greet(ctx context.Context, purpose string) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	u, err := r.sock.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.introduce(u, purpose); err != nil {
		_ = u.Close()
		return nil, err
	}
	return u, nil
}

func (r *Member) introduce(u *net.UnixConn, purpose string) error {
	if err := u.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	h := hello{Version: version, PID: os.Getpid(), Purpose: purpose, Fingerprint: r.cfg.Fingerprint}
	if err := send(u, h); err != nil {
		return fmt.Errorf("greet the receiver: %w", err)
	}
	var w welcome
	files, err := receive(u, &w)
	closeAll(files)
	if err != nil {
		return fmt.Errorf("greet the receiver: %w", err)
	}
	if w.Refused || w.Version != version || w.Fingerprint != r.cfg.Fingerprint {
		return &ConflictError{Index: r.cfg.Index, PID: w.PID, Version: w.Version, Theirs: w.Fingerprint, Ours: r.cfg.Fingerprint}
	}
	return nil
}

// watch connects to the current receiver and returns when it has ended.
func (r *Member) watch() (heard bool, err error) {
	u, err := r.greet(r.ctx, purposeWait)
	if err != nil {
		return false, err
	}
	defer u.Close()
	stop := context.AfterFunc(r.ctx, func() { u.Close() })
	defer stop()
	if err := u.SetDeadline(time.Time{}); err != nil {
		return true, err
	}
	r.settle(nil)
	return true, expect(u, wordReady)
}
