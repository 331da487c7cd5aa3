package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// deletedBuckets is how many parts of the tripwire's window are counted separately.
const deletedBuckets = 24

// deletedCount counts the records that this process has seen added to a backup and removed,
// within the window of the tripwire. The counts are a reason to check the backup, not more:
// moving messages to another mailbox counts, too.
type deletedCount struct {
	newest         int64 // number of the newest bucket
	added, removed [deletedBuckets]uint32
	pending        atomic.Bool // the backup waits for its check
}

// add counts a commit of a bucket, and returns the totals.
func (d *deletedCount) add(bucket int64, a applied) (added, removed int) {
	for d.newest < bucket {
		d.newest = max(d.newest+1, bucket-deletedBuckets)
		d.added[d.newest%deletedBuckets], d.removed[d.newest%deletedBuckets] = 0, 0
	}
	// Times never go back, or not for long.
	d.added[d.newest%deletedBuckets] += uint32(a.added)
	d.removed[d.newest%deletedBuckets] += uint32(a.removed)
	for i := range deletedBuckets {
		added, removed = added+int(d.added[i]), removed+int(d.removed[i])
	}
	return added, removed
}

// noteDeleted counts a mailbox that the mail server keeps under another name for some time.
func (b *Backup) noteDeleted(a *applied, st *State, e history.Event) error {
	r, ok := e.(*history.RenameEvent)
	prefix := b.set.opt.Names.DeletedPrefix
	if !ok || cyrus.IsDeleted(r.Old, prefix) || !cyrus.IsDeleted(r.New, prefix) {
		return nil
	}
	m, err := st.Mailbox(r.UniqueID)
	if m != nil && err == nil {
		a.removed += m.Live
	}
	return err
}

// countDeleted counts what a commit of this process has deleted, and has the backup checked if
// that may be too much. It costs nothing per message.
func (b *Backup) countDeleted(at time.Time, a applied) {
	rule := b.set.opt.Tripwire
	if !rule.On() || a.removed == 0 && b.deleted == nil {
		return
	}
	if b.deleted == nil {
		b.deleted = new(deletedCount)
	}
	bucket := at.Unix() / int64(rule.Window/deletedBuckets/time.Second)
	added, removed := b.deleted.add(bucket, a)
	if removed < rule.Least || b.deleted.pending.Load() {
		return
	}
	live, err := b.liveRecords()
	if err == nil && removed*100 < rule.Share*(live+removed-added) {
		return
	}
	s := suspect{due: b.set.opt.Now().Add(tripwire.Settle), found: repository.Found{Partition: b.part.Config(), Path: b.path,
		Info: repository.BackupInfo{Kind: b.entry.Kind, Name: b.entry.Name}}, count: b.deleted}
	select {
	case b.set.suspects <- s:
		b.deleted.pending.Store(true)
	default: // the next commit tries again
	}
}

// liveRecords returns the number of live records in live mailboxes.
func (b *Backup) liveRecords() (n int, err error) {
	err = b.set.index.View(func(t *index.Txn) error {
		st := &State{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
		for m, err := range st.Mailboxes() {
			if err != nil {
				return err
			}
			if m.Deleted.IsZero() && !cyrus.IsDeleted(m.Name, b.set.opt.Names.DeletedPrefix) {
				n += m.Live
			}
		}
		return nil
	})
	return n, err
}

// suspect is a backup that may have lost too many messages.
type suspect struct {
	due   time.Time // of the check
	found repository.Found
	count *deletedCount
}

// suspectLook is how often checkSuspects looks whether a check is due.
const suspectLook = time.Second

// checkSuspects checks one backup after the other, as they become due.
func (s *Set) checkSuspects() {
	for {
		select {
		case x := <-s.suspects:
			s.awaitDue(x.due)
			x.count.pending.Store(false) // a commit from now on needs another check
			if err := s.checkSuspect(s.life, &x.found); err != nil && s.life.Err() == nil {
				s.log.Warn("it is unknown whether too much of the mail of this backup was deleted", "backup", x.found.Path, "err", err)
			}
		case <-s.life.Done():
			return
		}
	}
}

func (s *Set) awaitDue(due time.Time) {
	for s.opt.Now().Before(due) {
		select {
		case <-time.After(suspectLook):
		case <-s.life.Done():
			return
		}
	}
}

// checkSuspect places a hold on a backup if its deletions fire the rule. An alarm that is
// lost harms nobody: compaction checks the backup before it removes anything.
func (s *Set) checkSuspect(ctx context.Context, f *repository.Found) error {
	was, err := repository.ReadBackupInfo(ctx, f.Partition.Store, f.Path)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil // set aside, moved or erased
	}
	if err != nil {
		return err
	}
	if h, err := f.ReadHolds(ctx); err != nil || h.Tripped() {
		return err
	}
	a, err := tripwire.Check(ctx, f, tripwire.Options{Rule: s.opt.Tripwire, DeletedPrefix: s.opt.Names.DeletedPrefix, Now: s.opt.Now()})
	if a == nil || err != nil {
		return err
	}
	x := a.Hold("backupd on " + s.opt.Host)
	if err := f.PlaceHold(ctx, x, s.opt.Now); err != nil {
		return err
	}
	// The check takes long.
	if now, err := repository.ReadBackupInfo(ctx, f.Partition.Store, f.Path); errors.Is(err, objstore.ErrNotExist) {
		return f.WithdrawLateHold(ctx, x)
	} else if err == nil && now.ID != was.ID {
		return fmt.Errorf("another backup of this name was started during the check, and has the hold now: %s", x.Text())
	}
	s.log.Error(a.Headline(), "backup", f.Path, "deleted", a.Deleted, "of", a.Of, "from", a.From, "to", a.To)
	return s.noteHeld(f.Partition.Name, f.Path)
}

// noteHeld records in the index that a backup has holds.
func (s *Set) noteHeld(partition, path string) error {
	return s.index.Update(func(t *index.Txn) error {
		c, err := readCounted(t, partition, path)
		if c == nil || err != nil {
			return err
		}
		c.Held = true
		v, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return t.Set(index.SummaryKey(partition, path), v)
	})
}
