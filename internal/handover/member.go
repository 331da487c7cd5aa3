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

// Pauses between attempts to get something that another process is about to release.
const (
	pauseMin  = 5 * time.Millisecond
	pauseMax  = 100 * time.Millisecond
	ownerPoll = 25 * time.Millisecond // waiting for the index of a process that drains
)

// passingMost limits the connections that are being passed at a time: each takes another descriptor in both
// processes, and waits while the receiver has no room.
const passingMost = 32

// answerTimeout is how long to wait for the receiver's answer. Clients wait ten seconds for the
// greeting.
const answerTimeout = 5 * time.Second

// ErrRetired is returned by Become when this process ends before it has the index.
var ErrRetired = errors.New("this process is ending")

// ConflictError means that another process uses the index with another configuration. Only the
// administrator can resolve that.
type ConflictError struct {
	Index        string
	PID          int // of the process that has the index
	Version      int // of its hand-over protocol
	Theirs, Ours string
}

func (e *ConflictError) Error() string {
	if e.Version != version {
		return fmt.Sprintf("process %d, which serves the index %s, runs another release: stop it first", e.PID, e.Index)
	}
	return fmt.Sprintf("process %d serves the index %s with other settings (theirs: %s; ours: %s): give all services with this index the same settings, or give this service its own index",
		e.PID, e.Index, e.Theirs, e.Ours)
}

// Config configures a Member.
type Config struct {
	Index       string // directory of the index; it need not exist, its parent is created
	Fingerprint string // of the partitions and the index: processes with different ones refuse each other
	// Reserve finds a place for a connection that another process passes.
	Reserve func(ctx context.Context) (*master.Slot, error)
	// Conflict is called if, after Join, another process has the index with another fingerprint
	// (*ConflictError), or the files beside the index cannot be used. The process must then exit.
	Conflict func(error)
	Logger   *slog.Logger // nil: silent
}

// Member is this process in the group that shares an index.
type Member struct {
	cfg  Config
	log  *slog.Logger
	sock *socketPath

	ctx    context.Context // ended by Retire; limits the goroutines of this Member
	retire context.CancelFunc
	runs   sync.WaitGroup // the goroutine of run
	waits  sync.WaitGroup // the goroutine that waits for the index
	owned  chan struct{}
	joined chan error // the first outcome of run, then closed
	join   sync.Once

	passing chan struct{} // full: passingMost connections are being passed

	mu       sync.Mutex
	keeps    bool          // this process serves the connections that it accepts
	received chan struct{} // closed when keeps becomes true
	owner    *lock
}

// Join becomes the receiver, or finds the current one and checks that its settings agree. The
// error is a *ConflictError or a file system error; both need the administrator. If the receiver
// does not answer, Join succeeds: this process then keeps its connections, which wait for the index.
func Join(ctx context.Context, cfg Config) (*Member, error) {
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
	r := &Member{
		cfg: cfg, log: cfg.Logger, sock: sock,
		owned:    make(chan struct{}),
		joined:   make(chan error, 1),
		received: make(chan struct{}),
		passing:  make(chan struct{}, passingMost),
	}
	r.ctx, r.retire = context.WithCancel(context.WithoutCancel(ctx))
	r.runs.Go(r.run)
	select {
	case err = <-r.joined:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(answerTimeout):
		r.settle(nil)
		r.log.Warn("the process that serves the index does not answer", slog.String("index", cfg.Index))
	}
	if err != nil {
		return nil, errors.Join(err, r.Release())
	}
	return r, nil
}

// settle gives Join its result, once, and reports whether this call did.
func (r *Member) settle(err error) (first bool) {
	r.join.Do(func() {
		first = true
		r.joined <- err
		close(r.joined)
	})
	return first
}

// fail reports an error that makes it pointless to continue.
func (r *Member) fail(err error) {
	if !r.settle(err) {
		r.cfg.Conflict(err)
	}
}

// Owned is closed when this process has the index and may open it.
func (r *Member) Owned() <-chan struct{} { return r.owned }

// Settled is closed when this process may retire without harm to sessions that wait for the index:
// at once, but for the receiver only when it has the index. If the receiver retired earlier, the
// next receiver would compete with it and might get the index first.
func (r *Member) Settled() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keeps {
		return r.owned
	}
	settled := make(chan struct{})
	close(settled)
	return settled
}

// Become waits until this process may open the index. It fails with ErrRetired if the process
// ends first, or with ctx.
func (r *Member) Become(ctx context.Context) error {
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

// Retire stops being the receiver: no more connections are accepted, and another process becomes
// the receiver. If this process has the index, it keeps it until Release. Retire may be called more
// than once.
func (r *Member) Retire() {
	r.retire()
	r.runs.Wait()
	r.waits.Wait()
}

// Release gives up the index as well. The caller has closed it and passes no more connections.
// Only the first call has an effect.
func (r *Member) Release() error {
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

// run tries to become the receiver and otherwise watches the current one, until Retire.
func (r *Member) run() {
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

// isFatal distinguishes errors for the administrator from errors that may be gone next time.
func isFatal(err error) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict) || errors.Is(err, os.ErrPermission) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)
}

// setKeeps sets whether this process serves the connections that it accepts.
func (r *Member) setKeeps(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keeps = on
	if on {
		close(r.received)
	} else {
		r.received = make(chan struct{})
	}
}

// kept reports whether this process must serve a connection itself, and returns a channel that is
// closed when that becomes true. A process that has the index open keeps its connections even
// while it drains.
func (r *Member) kept() (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keeps || r.owner != nil, r.received
}

// waitIndex takes the owner's lock when the lock is free.
func (r *Member) waitIndex() {
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
