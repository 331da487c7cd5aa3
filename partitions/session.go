package partitions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Who is at the other end of a session, for the log and the history.
type Who struct {
	Connection string // unique in this process's life
	Client     string // address and authenticated user
}

// Session is one connection's work: what it has sent and nothing refers to yet, what
// it was told, and which backups it holds. It is used by one goroutine.
type Session struct {
	set *Set
	who author
	log *slog.Logger

	force   bool
	past    bool    // it replays what another backup server was told: see NewReplay
	last    *Backup // opened last: its partition gets the messages
	held    map[*Backup]*heldBackup
	staging staging

	opened []*Backup       // by the command under way
	owes   repository.Name // what the command under way leaves to be compared if it is refused

	unreadable int                   // files that the client gave up in this unit of work
	relied     map[*Partition]uint64 // lossCount.Distrusted when this unit of work reported what is held

	since atomic.Int64 // unix nanoseconds since when it is between commands; 0 = in one
	lostM sync.Mutex
	taken map[*holding]bool // backups that another session took from this idle one
}

// heldBackup is what a session knows of a backup that it holds.
type heldBackup struct {
	fresh    bool              // brought up to the bucket in this unit of work
	reported map[string]uint64 // uniqueid → HIGHESTMODSEQ that it was told; absent = told nothing
	asked    map[string]bool   // uniqueids that were left out, to be sent whole; until they are
	// Since the backup was taken, or the client began to compare the whole user:
	brought  map[string]bool // uniqueids of mailboxes that the client has sent
	closed   map[string]bool // uniqueids that a new life has ended
	compared bool            // GET USER was answered
}

// NewSession begins the work of a connection.
func (s *Set) NewSession(w Who) *Session {
	x := &Session{
		set: s, who: author{connection: w.Connection, client: w.Client}, log: s.log.With("conn", w.Connection),
		held: map[*Backup]*heldBackup{}, taken: map[*holding]bool{}, relied: map[*Partition]uint64{},
	}
	x.staging.init(x)
	x.since.Store(s.opt.Now().UnixNano())
	return x
}

func (x *Session) idleFor() time.Duration {
	at := x.since.Load()
	if at == 0 {
		return 0
	}
	return x.set.opt.Now().Sub(time.Unix(0, at))
}

// lost notes that another session took a backup from this one. It is called with the holding's lock.
func (x *Session) lost(h *holding) {
	x.lostM.Lock()
	defer x.lostM.Unlock()
	x.taken[h] = true
}

func (x *Session) lostOne(h *holding) bool {
	x.lostM.Lock()
	defer x.lostM.Unlock()
	lost := x.taken[h]
	delete(x.taken, h)
	return lost
}

// secondLock is how long a session that holds a backup already waits for one more:
// two that wait for each other must not do so for long.
const secondLock = 10 * time.Second

// open takes the backup and brings it up to the bucket, once in a unit of work. The
// turn is not held afterwards. A backup that no partition holds is opened too.
func (x *Session) open(ctx context.Context, n repository.Name) (*Backup, *heldBackup, error) {
	b := x.set.backup(n)
	h := x.held[b]
	if h != nil && x.lostOne(&b.hold) {
		delete(x.held, b)
		return nil, nil, fmt.Errorf("this connection was idle and another one works on %s: %w", n, cyrus.ErrLocked)
	}
	if h == nil {
		wait := x.set.opt.OutageWait
		if len(x.held) > 0 {
			wait = min(wait, secondLock)
		}
		if err := b.hold.take(ctx, x, wait); err != nil {
			return nil, nil, notOpened(b, err)
		}
		h = &heldBackup{reported: map[string]uint64{}, asked: map[string]bool{}, brought: map[string]bool{}, closed: map[string]bool{}}
		x.held[b] = h
	}
	if !h.fresh {
		if err := b.bringUp(ctx); err != nil {
			return nil, nil, notOpened(b, err)
		}
		h.fresh = true
	}
	x.last = b
	x.opened = append(x.opened, b)
	return b, h, nil
}

// notOpened is why a backup cannot be used at all.
func notOpened(b *Backup, err error) error { return &backupError{b: b, class: opening, err: err} }

// bringUp is refresh with the turn.
func (b *Backup) bringUp(ctx context.Context) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	return b.refresh(ctx)
}

// keepOnly gives up the backups that are not named: the client has gone on to others.
func (x *Session) keepOnly(names map[repository.Name]bool) {
	for b := range x.held {
		if !names[b.name] {
			x.giveUp(b)
		}
	}
}

func (x *Session) giveUp(b *Backup) {
	delete(x.held, b)
	x.lostOne(&b.hold)
	b.hold.release(x)
}

// Restart ends the unit of work: staging and backups are given up.
func (x *Session) Restart(context.Context) {
	var none error
	defer x.enter()(&none)
	for b := range x.held {
		x.giveUp(b)
	}
	x.last = nil
	x.unreadable = 0
	clear(x.relied)
	x.staging.drop()
}

// rely notes as of when the client knows what the partition holds.
func (x *Session) rely(p *Partition) {
	if _, ok := x.relied[p]; !ok {
		x.relied[p] = p.lossCount().Distrusted
	}
}

// distrusted says that the answers of this unit of work are not believed any more.
func (x *Session) distrusted(p *Partition) bool {
	at, ok := x.relied[p]
	return ok && at != p.lossCount().Distrusted
}

// Close is Restart at the end of the connection.
func (x *Session) Close() error {
	x.Restart(context.Background())
	return nil
}

// ApplyForce makes this connection's CRCs in SINCE_* count for nothing: a state that
// differs is committed over, and what then still differs leads to a resync.
func (x *Session) ApplyForce(context.Context) error {
	x.force = true
	return nil
}

// view reads the state of a backup; a backup that is nowhere gives no call.
func (b *Backup) view(fn func(st *indexState) error) error {
	if b.entry == nil {
		return nil
	}
	return b.set.index.View(func(t *index.Txn) error {
		return fn(&indexState{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part})
	})
}

// read is view for commands: it takes the backup's turn.
func (b *Backup) read(ctx context.Context, fn func(st *indexState) error) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	return b.set.errf(b, b.view(fn))
}

// change is what a small command does to a backup: it looks at the state (nil while the
// backup is nowhere) and returns the events to commit, none when nothing changes.
// It is called again when another writer was faster.
type change func(st *indexState) ([]history.Event, error)

// apply opens the backup, making it where needed, and commits the change.
func (x *Session) apply(ctx context.Context, n repository.Name, c change) error {
	b, h, err := x.open(ctx, n)
	if err != nil {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	err = x.set.errf(b, x.commitChange(ctx, b, c))
	if err != nil {
		h.fresh = false // look again next time: another writer may be about
	}
	return err
}

func (x *Session) commitChange(ctx context.Context, b *Backup, c change) error {
	for range commitTries {
		var events []history.Event
		err := b.viewOrNone(func(st *indexState) (err error) {
			events, err = c(st)
			return err
		})
		if err != nil || len(events) == 0 {
			return err
		}
		if err := b.create(ctx, nil); err != nil {
			return err
		}
		bld := history.NewBuilder(history.Header{}, x.set.opt.Pack)
		for _, e := range events {
			if err := bld.Event(e); err != nil {
				return err
			}
		}
		err = b.commit(ctx, x.who, bld, func() error { return errAgain })
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return fmt.Errorf("other commits came first, %d times: %w", commitTries, cyrus.ErrLocked)
}

// errAgain: other commits came first; the change is thought out anew.
var errAgain = errors.New("other commits came first")

// viewOrNone is view, but fn is called with nil while the backup is nowhere.
func (b *Backup) viewOrNone(fn func(st *indexState) error) error {
	if b.entry == nil {
		return fn(nil)
	}
	return b.view(fn)
}
