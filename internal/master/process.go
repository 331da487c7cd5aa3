package master

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// ErrEnding is returned for what a process that is ending no longer does.
var ErrEnding = errors.New("this process is ending")

// Config is what a Process is made from.
type Config struct {
	Listeners []net.Listener // none: a process for one connection, see RunOne
	Status    *Status        // nil: not started by master
	Options   Options        // of the connections accepted here; Kind and Peer are filled in
	Uses      int            // -U: connections before the process recycles; 0: no limit
	Idle      time.Duration  // -T: ends after this long without a connection; 0: never
	Binary    *Binary        // nil: the program file is not watched
	Signals   *Signals       // nil: signals are left alone
	Logger    *slog.Logger   // nil: silent
}

// Limits are the settings that SIGHUP may change.
type Limits struct {
	MaxConns     int                 // connections at a time; 0: no limit
	DrainTimeout time.Duration       // see Process.Run
	KeepAlive    net.KeepAliveConfig // for TCP connections accepted here
}

// Callbacks are what a Process asks of the service that it runs.
type Callbacks struct {
	// Serve serves one connection and returns when it is done with it; the Process
	// closes it. It ends the session at the next command boundary once Draining is
	// closed, and as fast as it can once ctx is cancelled.
	Serve func(ctx context.Context, c *Conn)
	// Reload reads the configuration anew, on SIGHUP. An error leaves everything as it
	// was and is logged; ErrRecycle means that only a new process can take the new
	// configuration on. nil: nothing to reload.
	Reload func(ctx context.Context) error
	// Settled returns a channel that is closed when the process may recycle: until then
	// it accepts no more, but takes what is passed to it. Signals do not wait for it, and
	// without a connection there is nothing to wait for. nil: always.
	Settled func() <-chan struct{}
	// Retire is called once, when the process has stopped accepting for good and before
	// it waits for its sessions. nil: nothing to do.
	Retire func()
}

// ErrRecycle is returned by Reload when the process has to be replaced.
var ErrRecycle = errors.New("the change needs a new process")

// Process is a service's life: it accepts, counts, obeys signals and ends.
type Process struct {
	cfg      Config
	log      *slog.Logger
	draining chan struct{}
	started  chan struct{} // closed by Run: cb and ctx are set
	ends     chan end      // asks Run to end; one is enough
	cb       Callbacks
	ctx      context.Context // of the sessions; cancelled when draining has taken too long
	loops    sync.WaitGroup  // accept loops

	mu       sync.Mutex
	limits   Limits
	conns    int           // served, reserved or being accepted
	taken    int           // connections so far
	changed  chan struct{} // closed and replaced when conns or limits change
	stopping bool          // no reservations any more
}

// New returns a Process. Connections may be reserved at once; they are served from
// Run or RunOne on.
func New(cfg Config, limits Limits) *Process {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Process{
		cfg: cfg, log: cfg.Logger, limits: limits,
		draining: make(chan struct{}),
		started:  make(chan struct{}),
		ends:     make(chan end, 1),
		changed:  make(chan struct{}),
	}
}

// Draining is closed when sessions shall end at their next command boundary.
func (p *Process) Draining() <-chan struct{} { return p.draining }

// SetLimits replaces the limits; connections beyond a lowered one stay.
func (p *Process) SetLimits(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = l
	p.broadcastLocked()
}

// Conns returns how many connections there are now.
func (p *Process) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// Exit asks Run to end as for a signal, but to return code. Only the first of several
// reasons to end counts.
func (p *Process) Exit(code int, reason string) {
	p.request(end{code: code, reason: reason})
}

// Place is a reserved place for a connection that comes from elsewhere. Exactly one
// of Serve and Free must be called.
type Place struct{ p *Process }

// Reserve waits until Run has begun and there is room for one more connection, and
// takes the place. It fails with ErrEnding when the process is ending, or with ctx.
func (p *Process) Reserve(ctx context.Context) (*Place, error) {
	select {
	case <-p.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		p.mu.Lock()
		changed, stopping, room := p.changed, p.stopping, p.roomLocked()
		if room && !stopping {
			p.conns++
			p.broadcastLocked()
			p.mu.Unlock()
			return &Place{p}, nil
		}
		p.mu.Unlock()
		if stopping {
			return nil, ErrEnding
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Serve serves c, with c's own options, in a new goroutine.
func (pl *Place) Serve(c *Conn) {
	pl.p.use()
	go pl.p.serve(c)
}

// Free gives the place up.
func (pl *Place) Free() { pl.p.leave() }

// use counts a connection; the one that reaches -U makes the process recycle, as does
// the first one after the program file has changed.
func (p *Process) use() {
	p.mu.Lock()
	p.taken++
	last := p.usedUpLocked()
	p.mu.Unlock()
	switch {
	case last:
		p.recycle("served as many connections as -U allows")
	case p.cfg.Binary.Changed():
		p.recycle("the program file has changed")
	}
}

func (p *Process) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns--
	p.broadcastLocked()
}

func (p *Process) roomLocked() bool {
	return p.limits.MaxConns <= 0 || p.conns < p.limits.MaxConns
}

// usedUpLocked reports that -U allows no more connections.
func (p *Process) usedUpLocked() bool {
	return p.cfg.Uses > 0 && p.taken >= p.cfg.Uses
}

func (p *Process) broadcastLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}
