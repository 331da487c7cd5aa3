package master

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// AbandonAfter is how long sessions may take to return after their context was cancelled.
const AbandonAfter = 5 * time.Second

// end is a reason to end.
type end struct {
	code    int
	reason  string
	recycle bool // sessions may first continue for a DrainTimeout
	upgrade bool // a new program file is there: sessions continue for upgradePatience at most
	removed bool // the service was removed: master must not start a successor
}

// Run accepts and serves until the process must end. It returns the exit status, one of the Exit
// constants, when no session is left. Reasons to end are:
//
//   - SIGTERM, SIGINT, SIGQUIT or ctx: Run stops accepting, closes Draining and returns
//     ExitTempFail. Another signal, a second or more later, kills the process.
//   - Recycling (-U is reached, the program file has changed, ErrRecycle, the socket was closed):
//     Run stops accepting, and a successor may start. Once Settled, sessions may continue for
//     DrainTimeout, then Draining is closed. Run returns ExitOK. After a change of the program
//     file, which is also noticed without a connection, sessions may continue for 20 s at most.
//   - Idle, counted from the end of the last connection, if there was one: ExitOK. Stay prevents it.
//
// Sessions that are still running a DrainTimeout after Draining was closed have their context
// cancelled.
func (p *Process) Run(ctx context.Context, cb Callbacks) int {
	return p.run(ctx, cb, nil)
}

// RunOne is Run for the single connection c. The process recycles when it has ended, so that passed
// connections can finish.
func (p *Process) RunOne(ctx context.Context, c *Conn, cb Callbacks) int {
	return p.run(ctx, cb, c)
}

func (p *Process) run(ctx context.Context, cb Callbacks, one *Conn) int {
	// ctx asks the process to end but does not interrupt commands, so sessions outlive it.
	sessions, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	p.cb, p.ctx = cb, sessions
	close(p.started)
	if one != nil {
		p.serveOne(one)
	}
	e := p.accept(ctx)
	p.log.Info("ending", slog.String("reason", e.reason), slog.Int("status", e.code))
	settles := e.recycle && cb.Settled != nil
	if !settles {
		p.endsWithin(e)
	}
	for _, l := range p.cfg.Listeners {
		_ = l.Close()
	}
	if !e.removed {
		p.cfg.Status.Unavailable()
	}
	if settles { // as long as the owner of the index takes
		e = p.settle(ctx, e, cb.Settled())
		p.endsWithin(e)
	}
	p.mu.Lock()
	p.stopping = true
	p.broadcastLocked()
	p.mu.Unlock()
	if cb.Retire != nil {
		cb.Retire()
	}
	return p.drain(e, abandon)
}

// endsWithin calls Ending.
func (p *Process) endsWithin(e end) {
	if p.cb.Ending == nil {
		return
	}
	p.mu.Lock()
	within := p.limits.DrainTimeout
	p.mu.Unlock()
	if e.recycle {
		within *= 2 // see drain
	}
	p.cb.Ending(e.code, within+AbandonAfter)
}

func (p *Process) serveOne(c *Conn) {
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	p.use()
	go func() {
		ctx, end := context.WithCancel(p.ctx)
		p.serve(ctx, end, c)
		p.recycle("the connection has ended")
	}()
}

// accept is the main phase of the process. It returns with a reason to end and no acceptor running.
func (p *Process) accept(ctx context.Context) end {
	stop := p.startAcceptors()
	defer func() { stop() }()
	watch, unwatch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer unwatch()
	watcher.Go(func() {
		if p.cfg.Binary.replaced(watch) {
			p.upgrade()
		}
	})
	for {
		idle, changed := p.idleTimer()
		var e end
		select {
		case <-changed:
			continue
		case <-idle:
			// A connection that arrives at this moment is served, not drained.
			stop()
			if p.stopIfEmpty() {
				return end{code: ExitOK, reason: "idle for longer than -T allows"}
			}
			stop = p.startAcceptors()
			continue
		case sig := <-p.cfg.Signals.channel():
			if sig == syscall.SIGHUP {
				if sig = p.reload(ctx); sig == nil {
					continue
				}
			}
			e = p.signalled(sig)
		case e = <-p.ends:
		case <-ctx.Done():
			e = end{code: ExitTempFail, reason: "asked to end"}
		}
		return e
	}
}

// stopIfEmpty refuses reservations if there is no connection. Both happen under one lock, because a
// connection that is passed in between would be closed at once.
func (p *Process) stopIfEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns > 0 || p.stays {
		return false
	}
	p.stopping = true
	p.broadcastLocked()
	return true
}

// idleTimer returns a channel that fires when the process has been idle long enough, if it is idle,
// and a channel that is closed when that may have changed.
func (p *Process) idleTimer() (<-chan time.Time, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Idle > 0 && !p.stays && p.conns == 0 && p.taken > 0 {
		return time.After(p.cfg.Idle), p.changed
	}
	return nil, p.changed
}

// startAcceptors returns a function that stops them and waits until none runs. Further calls of it
// have no effect.
func (p *Process) startAcceptors() (stop func()) {
	done := make(chan struct{})
	for _, l := range p.cfg.Listeners {
		if d, ok := l.(deadliner); ok {
			_ = d.SetDeadline(time.Time{})
		}
		p.loops.Go((&acceptor{p: p, l: l, stop: done}).run)
	}
	return sync.OnceFunc(func() {
		close(done)
		for _, l := range p.cfg.Listeners {
			if d, ok := l.(deadliner); ok {
				_ = d.SetDeadline(time.Unix(1, 0))
			}
		}
		p.loops.Wait()
	})
}

func (p *Process) signalled(sig os.Signal) end {
	p.cfg.Signals.lastWarning()
	return end{code: ExitTempFail, reason: "got " + sig.String()}
}

// reload loads a new configuration. Checking it may take a while; a signal that asks the process to
// end in the meantime is returned.
func (p *Process) reload(ctx context.Context) (asked os.Signal) {
	p.log.Info("reloading the configuration")
	if p.cb.Reload != nil {
		asked, err := p.tryReload(ctx)
		switch {
		case asked != nil:
			return asked
		case errors.Is(err, ErrRecycle):
			p.recycle(err.Error())
		case err != nil:
			p.log.Error("keeping the old configuration", slog.Any("err", err))
		}
	}
	if p.cfg.Binary.Changed() {
		p.upgrade()
	}
	return nil
}

// tryReload calls Reload, and again for a SIGHUP that arrives in the meantime.
func (p *Process) tryReload(ctx context.Context) (asked os.Signal, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.cb.Reload(ctx) }()
	again := false
	for {
		select {
		case err := <-done:
			if again {
				return p.tryReload(ctx)
			}
			return nil, err
		case sig := <-p.cfg.Signals.channel():
			if sig != syscall.SIGHUP {
				cancel()
				<-done
				return sig, nil
			}
			again = true
		}
	}
}

func (p *Process) recycle(reason string) {
	p.request(end{code: ExitOK, recycle: true, reason: reason})
}

func (p *Process) upgrade() {
	p.request(end{code: ExitOK, recycle: true, upgrade: true, reason: "the program file has changed"})
}

// request passes e to accept, unless there is a reason to end already.
func (p *Process) request(e end) {
	select {
	case p.ends <- e:
	default:
	}
}

// settle waits until a process that recycles for reason e may continue, and returns the reason that
// applies then.
func (p *Process) settle(ctx context.Context, e end, settled <-chan struct{}) end {
	for {
		p.mu.Lock()
		conns, changed := p.conns, p.changed
		p.mu.Unlock()
		if conns == 0 {
			return e
		}
		select {
		case <-settled:
			return e
		case <-changed:
		case again := <-p.ends:
			if !again.recycle {
				return again
			}
		case sig := <-p.cfg.Signals.channel():
			if sig != syscall.SIGHUP {
				return p.signalled(sig)
			}
		case <-ctx.Done():
			return end{code: ExitTempFail, reason: "asked to end"}
		}
	}
}

// drain waits for the sessions to end, with increasing pressure.
func (p *Process) drain(e end, abandon func()) int {
	p.mu.Lock()
	timeout := p.limits.DrainTimeout
	p.mu.Unlock()
	if e.recycle {
		patience := timeout
		if e.upgrade {
			patience = min(timeout, upgradePatience)
		}
		p.waitEmpty(patience, func(sig os.Signal) (stop bool) {
			e = p.signalled(sig)
			return true
		})
	}
	close(p.draining)
	p.waitEmpty(timeout, func(sig os.Signal) (stop bool) {
		e = p.signalled(sig)
		return false
	})
	if n := p.Conns(); n > 0 {
		p.log.Warn("sessions aborted", slog.Int("sessions", n))
		abandon()
		p.waitEmpty(AbandonAfter, func(os.Signal) bool { return false })
	}
	return e.code
}

// waitEmpty waits until there is no connection, for at most d. It passes signals that ask for the
// end to signalled and ignores SIGHUP.
func (p *Process) waitEmpty(d time.Duration, signalled func(os.Signal) (stop bool)) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		p.mu.Lock()
		conns, changed := p.conns, p.changed
		p.mu.Unlock()
		if conns == 0 {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case sig := <-p.cfg.Signals.channel():
			if sig != syscall.SIGHUP && signalled(sig) {
				return
			}
		}
	}
}
