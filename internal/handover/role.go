package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/internal/master"
)

// Pauses between attempts at something that another process is about to free.
const (
	pauseMin  = 5 * time.Millisecond
	pauseMax  = 100 * time.Millisecond
	ownerPoll = 25 * time.Millisecond // for the index of a process that drains
)

// patience is how long a receiver that does not answer is waited for. The client
// waits ten seconds for its greeting.
const patience = 5 * time.Second

// ErrRetired is returned by Become when this process ends before it has the index.
var ErrRetired = errors.New("this process is ending")

// ConflictError says that the index is another configuration's. Only a person can
// mend that.
type ConflictError struct {
	Index        string
	PID          int // of the process that has it
	Version      int // of its hand-over protocol
	Theirs, Ours string
}

func (e *ConflictError) Error() string {
	if e.Version != version {
		return fmt.Sprintf("process %d, which serves the index %s, is of another release: end it first", e.PID, e.Index)
	}
	return fmt.Sprintf("process %d serves the index %s with other settings (theirs: %s; ours: %s): give all services with this index the same ones, or this one an index of its own",
		e.PID, e.Index, e.Theirs, e.Ours)
}

// Config is what a Role is made from.
type Config struct {
	Index       string // directory of the index; it need not exist, its parent is made
	Fingerprint string // of the partitions and the index: processes with different ones refuse each other
	// Reserve finds a place for a connection that another process passes.
	Reserve func(ctx context.Context) (*master.Place, error)
	// Conflict is told when, after Join, another process is found to have the index
	// with another fingerprint (*ConflictError), or when the files beside the index
	// cannot be used. The process then has to end.
	Conflict func(error)
	Logger   *slog.Logger // nil: silent
}

// Role is this process's part among those that share an index.
type Role struct {
	cfg  Config
	log  *slog.Logger
	sock *socketPath

	ctx    context.Context // ended by Retire; bounds this Role's own goroutines
	retire context.CancelFunc
	runs   sync.WaitGroup // the goroutine of run
	waits  sync.WaitGroup // the one that waits for the index
	owned  chan struct{}
	joined chan error // the first outcome of run, then closed
	join   sync.Once

	mu       sync.Mutex
	keeps    bool          // this process serves what it accepts
	received chan struct{} // closed when keeps becomes true
	owner    *lock
}

// Join finds this process's part: it becomes the receiver, or it has found the one
// there is and agrees with it. The error is a *ConflictError or one of the file system,
// both for a person to mend. A receiver that does not answer is no error: connections
// are then served here, and wait for the index.
func Join(ctx context.Context, cfg Config) (*Role, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Index), 0o700); err != nil {
		return nil, err
	}
	sock, err := openSocketPath(cfg.Index + ".sock")
	if err != nil {
		return nil, err
	}
	r := &Role{
		cfg: cfg, log: cfg.Logger, sock: sock,
		owned:    make(chan struct{}),
		joined:   make(chan error, 1),
		received: make(chan struct{}),
	}
	r.ctx, r.retire = context.WithCancel(context.WithoutCancel(ctx))
	r.runs.Go(r.run)
	select {
	case err = <-r.joined:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(patience):
		r.settle(nil)
		r.log.Warn("the process that serves the index does not answer", slog.String("index", cfg.Index))
	}
	if err != nil {
		return nil, errors.Join(err, r.Release())
	}
	return r, nil
}

// settle answers Join, once, and reports whether this was the answer.
func (r *Role) settle(err error) (first bool) {
	r.join.Do(func() {
		first = true
		r.joined <- err
		close(r.joined)
	})
	return first
}

// fail reports what makes going on pointless.
func (r *Role) fail(err error) {
	if !r.settle(err) {
		r.cfg.Conflict(err)
	}
}

// Owned is closed when this process has the index to itself and may open it.
func (r *Role) Owned() <-chan struct{} { return r.owned }

// Settled is closed when this process may retire without letting down sessions that
// wait for the index: at once, except for the receiver, which has to have the index first.
// Were it to retire before, the next receiver would wait beside it and might be first.
func (r *Role) Settled() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keeps {
		return r.owned
	}
	settled := make(chan struct{})
	close(settled)
	return settled
}

// Become waits until this process may open the index. It fails with ErrRetired when the
// process ends first, or with ctx.
func (r *Role) Become(ctx context.Context) error {
	select {
	case <-r.owned:
		return nil
	default:
	}
	select {
	case <-r.owned:
		return nil
	case <-r.ctx.Done():
		return ErrRetired
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Retire gives up being the receiver: no connection is taken any more, and another
// process becomes the receiver. The index, if this process has it, stays its own until
// Release. It may be called more than once.
func (r *Role) Retire() {
	r.retire()
	r.runs.Wait()
	r.waits.Wait()
}

// Release gives the index up, too. The caller has closed it, and passes no connection
// any more. Only the first call does something.
func (r *Role) Release() error {
	r.Retire()
	r.mu.Lock()
	owner, sock := r.owner, r.sock
	r.owner, r.sock = nil, nil
	r.mu.Unlock()
	var err error
	if owner != nil {
		err = owner.unlock()
	}
	if sock != nil {
		err = errors.Join(err, sock.close())
	}
	return err
}

// run tries to be the receiver and otherwise watches the one there is, until Retire.
func (r *Role) run() {
	pause := pauseMin
	for r.ctx.Err() == nil {
		l, err := tryLock(r.cfg.Index + ".receiver")
		if err == nil {
			err = r.receive(l)
		} else if errors.Is(err, errLocked) {
			var heard bool
			if heard, err = r.watch(); heard {
				pause = pauseMin
			}
		}
		if r.ctx.Err() != nil {
			return
		}
		if isFatal(err) {
			r.fail(err)
			return
		}
		r.log.Debug("no receiver", slog.Any("err", err))
		select {
		case <-r.ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, pauseMax)
	}
}

// isFatal tells what a person has to mend from what the next attempt may find mended.
func isFatal(err error) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict) || errors.Is(err, os.ErrPermission) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)
}

// setKeeps says whether this process serves what it accepts.
func (r *Role) setKeeps(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keeps = on
	if on {
		close(r.received)
	} else {
		r.received = make(chan struct{})
	}
}

// kept reports whether this process has to serve a connection by itself, and returns a
// channel that is closed when that becomes so. A process that has the index open keeps
// its connections also while it drains.
func (r *Role) kept() (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keeps || r.owner != nil, r.received
}

// waitIndex takes the owner's lock as soon as it is free.
func (r *Role) waitIndex() {
	told := false
	for {
		l, err := tryLock(r.cfg.Index + ".owner")
		if err == nil {
			r.mu.Lock()
			r.owner = l
			r.mu.Unlock()
			close(r.owned)
			r.log.Info("this process has the index", slog.String("index", r.cfg.Index))
			return
		}
		if isFatal(err) {
			r.fail(err)
			return
		}
		if !told {
			told = true
			r.log.Info("waiting for the index", slog.String("index", r.cfg.Index), slog.Any("err", err))
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(ownerPoll):
		}
	}
}
