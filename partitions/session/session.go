package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Who identifies the other end of a session, for the log and the history.
type Who struct {
	Connection string // unique within this process
	Client     string // address and authenticated user
	Login      string // the authenticated user
	Scope      *Scope // nil = everything
}

// Session is the work of one connection: the messages that it has sent and nothing refers to
// yet, the state that was reported to it, and the backups that it holds. Only one goroutine
// uses it.
type Session struct {
	set *partitions.Set
	who partitions.Author
	log *slog.Logger

	scope  *Scope // nil: everything
	fenced bool   // the scope was not everything when the session began

	force     bool
	importing bool               // replays the log of another backup server: see NewImport
	last      *partitions.Backup // opened last; its partition gets the messages
	held      map[*partitions.Backup]*heldBackup
	heldBytes int // about what held takes
	// lastingBytes were heldBytes after leaveNameless has given up backups that do not exist. heldMore is set
	// if the client may still name some of those.
	lastingBytes int
	heldMore     bool
	stage        *partitions.Stage
	body         fromClient // of the message that is being read

	opened []*partitions.Backup // opened by the running command
	trying *partitions.Backup   // that the running command has tried to open last
	owes   repository.Name      // the backup to compare later if the running command is refused

	unreadable int // files that the client could not read in this unit of work

	since atomic.Int64 // idle since, in Unix nanoseconds; 0 = a command is running
	lostM sync.Mutex
	taken map[*partitions.Lease]bool // backups that another session took from this idle one
}

// heldBackup is the session's knowledge of a backup that it holds.
type heldBackup struct {
	fresh    bool              // updated from the bucket in this unit of work
	reported map[string]uint64 // uniqueid → reported HIGHESTMODSEQ; absent = nothing reported
	asked    map[string]bool   // uniqueids reported as empty, until the client sends them whole
	// Since the session took the backup, or the client began to compare the whole user:
	sent     map[string]bool // uniqueids of mailboxes that the client has sent
	closed   map[string]bool // uniqueids that a new life has ended
	compared bool            // GET USER was answered
	refused  bool            // a command of this unit of work was refused
}

// New returns the session of a new connection.
func New(s *partitions.Set, w Who) *Session {
	x := &Session{
		set: s, who: partitions.Author{Connection: w.Connection, Client: w.Client}, log: s.Options().Logger.With("conn", cyrus.ShortSessionID(w.Connection)),
		held: map[*partitions.Backup]*heldBackup{}, taken: map[*partitions.Lease]bool{}, stage: s.NewStage(),
	}
	if x.scope = w.Scope; x.scope != nil && !x.scope.All() {
		x.fenced, x.stage = true, s.NewFencedStage(w.Login)
	}
	x.since.Store(x.clock().UnixNano())
	return x
}

func (x *Session) clock() time.Time { return x.set.Options().Now() }

// IdleFor implements partitions.Holder.
func (x *Session) IdleFor() time.Duration {
	at := x.since.Load()
	if at == 0 {
		return 0
	}
	return x.clock().Sub(time.Unix(0, at))
}

// LeaseLost implements partitions.Holder.
func (x *Session) LeaseLost(l *partitions.Lease) {
	x.lostM.Lock()
	defer x.lostM.Unlock()
	x.taken[l] = true
}

func (x *Session) lostOne(l *partitions.Lease) bool {
	x.lostM.Lock()
	defer x.lostM.Unlock()
	lost := x.taken[l]
	delete(x.taken, l)
	return lost
}

// secondLock is how long a session that already holds a backup waits for another one. Two
// sessions that wait for each other must not do so for long.
const secondLock = 10 * time.Second

// open takes the backup's lease and updates the backup from the bucket, once per unit of work. All
// work on a backup begins here, so this is also where the scope of the login is enforced.
// It returns without the commit mutex. It also opens a backup that no partition holds yet.
func (x *Session) open(ctx context.Context, n repository.Name) (*partitions.Backup, *heldBackup, error) {
	if err := x.allow(n); err != nil {
		return nil, nil, err
	}
	b, h, err := x.hold(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	if !h.fresh {
		if err := b.BringUp(ctx); err != nil {
			return nil, nil, b.NotOpened(err)
		}
		h.fresh = true
	}
	if err := x.stage.Use(ctx, b); err != nil {
		return nil, nil, b.NotOpened(err)
	}
	x.last = b
	x.opened = append(x.opened, b)
	return b, h, nil
}

// hold takes the backup's lease, unless the session has it.
func (x *Session) hold(ctx context.Context, n repository.Name) (*partitions.Backup, *heldBackup, error) {
	b := x.set.Use(n)
	x.trying = b
	if h := x.held[b]; h != nil {
		x.set.Leave(b) // the first use of the session lasts
		if x.lostOne(b.Lease()) {
			x.leave(b)
			return nil, nil, fmt.Errorf("this connection was idle and another one works on %s: %w", n, cyrus.ErrLocked)
		}
		return b, h, nil
	}
	wait := x.set.Options().OutageWait
	if len(x.held) > 0 {
		wait = min(wait, secondLock)
	}
	if err := b.Lease().Take(ctx, x, wait); err != nil {
		x.set.Leave(b)
		return nil, nil, b.NotOpened(err)
	}
	h := &heldBackup{reported: map[string]uint64{}, asked: map[string]bool{}, sent: map[string]bool{}, closed: map[string]bool{}}
	x.held[b] = h
	x.heldBytes += heldSize(b)
	return b, h, nil
}

// keepOnly releases the backups that are not named, because the client has moved on.
func (x *Session) keepOnly(names map[repository.Name]bool) {
	x.heldMore, x.lastingBytes = false, 0
	for b := range x.held {
		if !names[b.Name()] {
			x.giveUp(b)
		}
	}
}

func (x *Session) giveUp(b *partitions.Backup) {
	x.reached(b)
	x.release(b)
}

// release is giveUp in the middle of a unit of work.
func (x *Session) release(b *partitions.Backup) {
	x.lostOne(b.Lease())
	b.Lease().Release(x)
	x.leave(b)
}

// leave ends the use of a backup whose lease the session does not have.
func (x *Session) leave(b *partitions.Backup) {
	delete(x.held, b)
	x.heldBytes -= heldSize(b)
	x.lastingBytes = min(x.lastingBytes, x.heldBytes)
	if x.last == b {
		x.last = nil
	}
	x.stage.Leave(b)
	x.set.Leave(b)
}

// Restart ends the unit of work and releases staging and backups.
func (x *Session) Restart(context.Context) {
	var none error
	defer x.enter()(&none)
	for b := range x.held {
		x.giveUp(b)
	}
	x.last, x.heldMore, x.lastingBytes = nil, false, 0
	x.unreadable = 0
	x.stage.Restart()
}

// Close is Restart at the end of the connection.
func (x *Session) Close() error {
	x.Restart(context.Background())
	return nil
}

// ApplyForce makes this session ignore the CRCs in SINCE_*. The commit overwrites a state that
// differs, and any remaining difference leads to a resync.
func (x *Session) ApplyForce(context.Context) error {
	x.force = true
	return nil
}

// change opens the backup, creates it if needed, and commits the change.
func (x *Session) change(ctx context.Context, n repository.Name, c partitions.Change) error {
	b, h, err := x.open(ctx, n)
	if err != nil {
		return err
	}
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	err = b.Failed(b.Change(ctx, x.who, c))
	if err != nil {
		h.fresh = false // update again next time: another writer may be active
	}
	return err
}
