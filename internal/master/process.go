package master

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// ErrEnding means that the process is ending and refuses the request.
var ErrEnding = errors.New("this process is ending")

// Config configures a Process.
type Config struct {
	Listeners []net.Listener // none: a process for one connection, see RunOne
	Status    *Status        // nil: not started by master
	Options   Options        // of the connections accepted here; Kind and Peer are filled in
	Uses      int            // -U: connections before the process recycles; 0: no limit
	Idle      time.Duration  // -T: ends after this long without a connection; 0: never
	Binary    *Binary        // nil: do not watch the program file
	Signals   *Signals       // nil: do not handle signals
	Logger    *slog.Logger   // nil: silent
}

// Limits are the settings that SIGHUP may change.
type Limits struct {
	MaxConns     int                 // connections at a time; 0: no limit
	Strangers    int                 // further ones, as long as their clients have not logged in
	DrainTimeout time.Duration       // see Process.Run
	KeepAlive    net.KeepAliveConfig // for TCP connections accepted here
}

// Callbacks are the hooks of the service.
type Callbacks struct {
	// Serve serves one connection and returns when it is done; the Process closes the connection.
	// Serve ends the session at the next command boundary once Draining is closed, and as fast
	// as possible once ctx is cancelled.
	Serve func(ctx context.Context, c *Conn)
	// Reload reads the configuration again, on SIGHUP. If it returns an error, the old
	// configuration stays in use and the error is logged; ErrRecycle means that the new
	// configuration needs a new process. nil: nothing to reload.
	Reload func(ctx context.Context) error
	// Settled returns a channel that is closed when the process may recycle. Until then it stops
	// accepting but takes connections that are passed to it. Signals do not wait for the
	// channel, nor does a process without connections. nil: no wait.
	Settled func() <-chan struct{}
	// Ending is called once, when the process ends for good, before anything that may hang. Run should return
	// code within a time that its sessions may take. nil: nothing to do.
	Ending func(code int, within time.Duration)
	// Retire is called once, after the process has finally stopped accepting and before it waits
	// for its sessions. nil: nothing to do.
	Retire func()
}

// ErrRecycle is returned by Reload if the process must be replaced.
var ErrRecycle = errors.New("the change needs a new process")

// Process runs a service: it accepts, counts, handles signals and ends.
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
	conns    int           // being served, reserved or accepted
	strange  strangers     // those of conns whose clients have not logged in
	closing  int           // those of conns that were closed in favour of others
	pressure pressure      // how many were, for the log
	taken    int           // connections so far
	changed  chan struct{} // closed and replaced when conns or limits change
	stopping bool          // no more reservations
	stays    bool          // idle or not
}

// New returns a Process. Connections can be reserved at once; they are served after Run or RunOne
// has started.
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
		strange:  newStrangers(),
	}
}

// Draining is closed when sessions must end at their next command boundary.
func (p *Process) Draining() <-chan struct{} { return p.draining }

// SetLimits replaces the limits. Connections above a lowered limit continue.
func (p *Process) SetLimits(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = l
	p.broadcastLocked()
}

// Conns returns the number of connections.
func (p *Process) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// Exit asks Run to end as after a signal, but to return code. Only the first of several reasons
// counts.
func (p *Process) Exit(code int, reason string) {
	p.request(end{code: code, reason: reason})
}

// Stay makes the process stay while it is idle, whatever Config.Idle says.
func (p *Process) Stay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stays = true
	p.broadcastLocked()
}

// Slot is a reserved place for a passed connection. Exactly one of Serve and Free must be called.
type Slot struct{ p *Process }

// Reserve waits until Run has started and there is room for one more connection, and reserves the
// place. It fails with ErrEnding if the process is ending, or with ctx.
func (p *Process) Reserve(ctx context.Context) (*Slot, error) {
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
			closed := p.squeezeLocked(nil)
			p.broadcastLocked()
			p.mu.Unlock()
			closed()
			return &Slot{p}, nil
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
func (pl *Slot) Serve(c *Conn) {
	p := pl.p
	ctx, end := context.WithCancel(p.ctx)
	p.mu.Lock()
	p.enterLocked(c, end)
	p.broadcastLocked() // it counted as logged in until now
	p.mu.Unlock()
	p.use()
	go p.serve(ctx, end, c)
}

// Free releases the place.
func (pl *Slot) Free() { pl.p.leave(nil) }

// use counts a connection. The process recycles when the number reaches -U, or with the first
// connection after the program file has changed.
func (p *Process) use() {
	p.mu.Lock()
	p.taken++
	last := p.usedUpLocked()
	p.mu.Unlock()
	switch {
	case last:
		p.recycle("served as many connections as -U allows")
	case p.cfg.Binary.Changed():
		p.upgrade()
	}
}

// usedUpLocked reports whether -U allows no more connections.
func (p *Process) usedUpLocked() bool {
	return p.cfg.Uses > 0 && p.taken >= p.cfg.Uses
}

func (p *Process) broadcastLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}
