package master

import (
	"context"
	"log/slog"
	"time"
)

const (
	// OwnFiles is how many file descriptors backupd needs beside its connections (docs/administration.md).
	OwnFiles = 64
	// MostStrangers limits Limits.Strangers, because each connection takes memory.
	MostStrangers = 2048
)

// pressureLog is the time between two lines about strangers.
const pressureLog = time.Minute

// pressure is what the log has not reported yet.
type pressure struct {
	closed int
	logged time.Time
}

// enterLocked counts c as a stranger until its client logs in. end ends its context.
func (p *Process) enterLocked(c *Conn, end context.CancelFunc) *stranger {
	x := p.strange.enter(c.RemoteAddr(), time.Now(), func() {
		end()
		_ = c.Conn.Close() // the session sees the error
	})
	if x == nil {
		return nil
	}
	c.stranger = x
	c.loggedIn = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.strange.welcome(x)
		p.broadcastLocked()
	}
	return x
}

// leave releases the place of c, or of a connection that never came.
func (p *Process) leave(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns--
	if c != nil && c.stranger != nil && !p.strange.leave(c.stranger) && c.stranger.squeezed {
		p.closing--
	}
	p.broadcastLocked()
}

// roomLocked reports whether another connection may be accepted: there is a place, or somebody who has
// not logged in can give his up. The last one who had to must be gone.
func (p *Process) roomLocked() bool {
	if p.limits.MaxConns <= 0 {
		return true
	}
	strange := p.strange.inOrder.Len()
	if p.conns-strange-p.closing >= p.limits.MaxConns {
		return false
	}
	return p.conns < p.mostLocked() || p.closing == 0 && strange > 0
}

// mostLocked returns how many connections there may be.
func (p *Process) mostLocked() int { return p.limits.MaxConns + p.limits.Strangers }

// squeezeLocked chooses the connections to close after a newcomer has entered; nil: one without a name. The
// caller calls the result without the lock.
func (p *Process) squeezeLocked(newcomer *stranger) (closed func()) {
	if p.limits.MaxConns <= 0 {
		return func() {}
	}
	var out []*stranger
	now := time.Now()
	for 2*p.strange.inOrder.Len() > p.mostLocked() {
		x := p.strange.late(now)
		if x == nil {
			break
		}
		out = append(out, p.squeezedLocked(x))
	}
	if p.conns-p.closing > p.mostLocked() {
		if x := p.strange.worst(newcomer); x != nil {
			out = append(out, p.squeezedLocked(x))
		}
	}
	if len(out) == 0 {
		return func() {}
	}
	report := p.reportLocked(now, out)
	return func() {
		for _, x := range out {
			x.close()
		}
		report()
	}
}

func (p *Process) squeezedLocked(x *stranger) *stranger {
	p.strange.leave(x)
	x.squeezed = true
	p.closing++
	return x
}

// reportLocked counts closed connections, and returns a function that logs them, at most once a minute.
func (p *Process) reportLocked(now time.Time, out []*stranger) func() {
	p.pressure.closed += len(out)
	if now.Sub(p.pressure.logged) < pressureLog {
		return func() {}
	}
	closed, strange := p.pressure.closed, p.strange.inOrder.Len()
	p.pressure = pressure{logged: now}
	return func() {
		p.log.Warn("many clients connect and do not log in: closing the connections of the busiest addresses",
			slog.Int("closed", closed), slog.Int("not_logged_in", strange), slog.String("address", out[len(out)-1].address.String()))
	}
}
