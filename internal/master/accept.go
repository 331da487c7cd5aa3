package master

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"
)

// Pauses after an accept that failed for lack of descriptors or memory.
const (
	acceptPauseMin = 20 * time.Millisecond
	acceptPauseMax = time.Second
)

// acceptor accepts on one listener until stop is closed or the socket becomes unusable. Acceptors may
// exceed the limits by one connection each: each waits for room before and after it accepts. If an
// acceptor reserved its place in advance, an idle address could keep the last place from a busy one.
type acceptor struct {
	p    *Process
	l    net.Listener
	stop <-chan struct{}
}

// deadliner is the part of *net.TCPListener and *net.UnixListener that interrupts Accept.
type deadliner interface{ SetDeadline(time.Time) error }

func (a *acceptor) run() {
	pause := acceptPauseMin
	for a.waitRoom() {
		c, err := a.l.Accept()
		if err == nil {
			pause = acceptPauseMin
			a.waitRoom() // again: somebody may have logged in meanwhile
			a.accepted(c)
			continue
		}
		switch verdict(err) {
		case acceptStop:
			return
		case acceptRetry:
		case acceptWait:
			a.p.log.Error("accept", slog.Any("err", err))
			select {
			case <-time.After(pause):
			case <-a.stop:
				return
			}
			pause = min(2*pause, acceptPauseMax)
		case acceptRemoved:
			a.p.request(end{code: ExitOK, recycle: true, removed: true, reason: "master has closed the socket"})
			return
		case acceptBroken:
			a.p.log.Error("accept", slog.Any("err", err))
			a.p.request(end{code: ExitOSErr, recycle: true, reason: "accept failed"})
			return
		}
	}
}

// waitRoom waits until the process may accept another connection. master does not know the limit;
// the kernel's backlog holds the clients in the meantime.
func (a *acceptor) waitRoom() bool {
	for {
		a.p.mu.Lock()
		changed, room, used := a.p.changed, a.p.roomLocked(), a.p.usedUpLocked()
		a.p.mu.Unlock()
		select {
		case <-a.stop:
			return false
		default:
		}
		if used {
			return false
		}
		if room {
			return true
		}
		select {
		case <-a.stop:
			return false
		case <-changed:
		}
	}
}

func (a *acceptor) accepted(nc net.Conn) {
	p := a.p
	c := &Conn{Conn: nc, Options: p.cfg.Options}
	c.Kind, c.Peer = kindOf(nc), PeerName(nc)
	ctx, end := context.WithCancel(p.ctx)
	p.mu.Lock()
	p.conns++
	newcomer := p.enterLocked(c, end)
	closed := p.squeezeLocked(newcomer)
	p.broadcastLocked()
	p.mu.Unlock()
	closed()
	p.cfg.Status.Connection()
	p.use()
	go p.serve(ctx, end, c)
}

// tune configures a TCP connection. This includes passed connections, because net.FileConn resets
// the settings of the first process.
func (p *Process) tune(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	p.mu.Lock()
	keepAlive := p.limits.KeepAlive
	p.mu.Unlock()
	// Both fail only on a closed connection, which the session will notice.
	_ = tcp.SetNoDelay(true)
	_ = tcp.SetKeepAliveConfig(keepAlive)
}

// serve runs the session. The recover is the last guard: a fault in one connection must not end
// the others and the index.
func (p *Process) serve(ctx context.Context, end context.CancelFunc, c *Conn) {
	defer p.leave(c)
	defer c.Close()
	defer end()
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("session ended by a bug in this program", slog.String("peer", c.Peer),
				slog.Any("err", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	if ctx.Err() == nil {
		p.tune(c.Conn)
		p.cb.Serve(ctx, c)
	}
}

type acceptVerdict int

const (
	acceptBroken acceptVerdict = iota
	acceptStop
	acceptRetry
	acceptWait
	acceptRemoved
)

// verdict classifies accept errors like main in master/service.c: network errors are retried;
// EINVAL means that master has shut down the socket, because the service was removed from
// cyrus.conf. Unlike Cyrus it waits when resources are exhausted, because other connections of this
// process will end and free some.
func verdict(err error) acceptVerdict {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return acceptStop
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return acceptBroken
	}
	switch errno {
	case syscall.EINTR, syscall.ENETDOWN, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH,
		syscall.ECONNABORTED, syscall.EAGAIN, syscall.EPERM: // EPERM: a firewall rule, accept(2)
		return acceptRetry
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
		return acceptWait
	case syscall.EINVAL:
		return acceptRemoved
	}
	return acceptBroken
}
