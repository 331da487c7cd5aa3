package maintenance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// record puts the commit of retention, if it changes anything. If another writer takes the number,
// the events are chosen again: a folder may have been renamed meanwhile.
func (r *retainer) record(ctx context.Context) (recorded bool, err error) {
	for range repository.AnnounceTries {
		tip, events, err := r.events(ctx)
		if err != nil || len(events) == 0 {
			return false, err
		}
		at, err := r.storeNow(ctx)
		if err != nil {
			return false, err
		}
		if err := r.sameBackup(ctx); err != nil {
			return false, err
		}
		h := r.o.Lock.Header(r.f, tip, at)
		h.Connection = repository.RetentionConnection
		won, err := r.put(ctx, h, events)
		if err != nil {
			return false, err
		}
		if won {
			r.done.Commit, r.recordedAt = h.Number, h.Time
			return true, r.sameBackup(ctx)
		}
	}
	return false, fmt.Errorf("other writers took %d commit numbers in a row: try again", repository.AnnounceTries)
}

func (r *retainer) put(ctx context.Context, h history.Header, events []history.Event) (won bool, err error) {
	bld := history.NewBuilder(h, pack.Options{})
	for _, e := range events {
		if err := bld.Event(e); err != nil {
			return false, err
		}
	}
	f := *r.f
	f.Partition.Store = r.store
	return f.PutBuilt(ctx, bld)
}

// sameBackup returns an error if the backup was set aside or erased, and perhaps created again.
func (r *retainer) sameBackup(ctx context.Context) error {
	now, err := repository.ReadBackupInfo(ctx, r.store, r.f.Path)
	if err == nil && now.ID != r.f.Info.ID {
		err = errors.New("it was set aside, and another backup has its name")
	}
	return err
}

// events returns the events of the commit of retention for the newest state.
func (r *retainer) events(ctx context.Context) (history.Tip, []history.Event, error) {
	st, err := r.f.Load(ctx, history.Moment{Now: r.now})
	if err != nil {
		return history.Tip{}, nil, err
	}
	defer st.Close()
	if err := r.goesOn(ctx, st); err != nil {
		return history.Tip{}, nil, err
	}
	if r.messages != nil {
		events, err := r.erasedEvents(st)
		return st.Tip(), events, err
	}
	if r.forget {
		return st.Tip(), r.forgotten(), nil
	}
	r.done.Folders, r.done.Pruned = 0, false
	worth, err := r.worthACommit(ctx, st)
	if err != nil || !worth {
		return st.Tip(), nil, err
	}
	events, err := r.expiredFolders(ctx, st, r.now.Add(-r.o.DeletedFolders))
	if err != nil {
		return history.Tip{}, nil, err
	}
	r.done.Folders = len(events)
	if r.done.Pruned, err = hasTombstones(st, r.limit); err != nil {
		return history.Tip{}, nil, err
	}
	if r.done.Pruned {
		events = append(events, &history.PruneEvent{Before: r.limit})
	}
	if r.cut.Number > 0 {
		events = append(events, &history.RetainedEvent{From: 1, To: r.cut.Number})
	}
	return st.Tip(), events, nil
}

// worthACommit reports whether there is anything to do that cannot wait until more has come
// together: a backup gets at most one commit of retention a day.
func (r *retainer) worthACommit(ctx context.Context, st *history.Mem) (bool, error) {
	if r.cut.Number > 0 {
		return true, nil
	}
	old, err := hasTombstones(st, r.limit.Add(-retainEvery))
	if err != nil || old {
		return old, err
	}
	folders, err := r.expiredFolders(ctx, st, r.now.Add(-r.o.DeletedFolders-retainEvery))
	return len(folders) > 0, err
}

// goesOn returns an error if the log has ended here.
func (r *retainer) goesOn(ctx context.Context, st *history.Mem) error {
	seal, err := repository.SealOf(st)
	if seal == nil || err != nil {
		return err
	}
	repo, err := repository.ReadInfo(ctx, r.store)
	if err == nil && seal.To != repo.ID {
		err = repository.ErrSealed
	}
	return err
}

// hasTombstones reports whether a prune event would change the state.
func hasTombstones(st *history.Mem, before time.Time) (bool, error) {
	old := func(t time.Time) bool { return !t.IsZero() && t.Before(before) }
	for _, kind := range history.ItemKinds() {
		for i, err := range st.Items(kind) {
			if err != nil || old(i.Deleted) {
				return err == nil, err
			}
		}
	}
	for m, err := range st.Mailboxes() {
		if err != nil || old(m.Deleted) {
			return err == nil, err
		}
		if m.Live == m.Records {
			continue
		}
		for rec, err := range st.Records(m.UniqueID, 0) {
			if err != nil || rec.Expunged > 0 && rec.Expunged < before.Unix() {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// expiredFolders returns an event for each folder that the mail server has deleted with delay and,
// by its age, must have removed. The mail server does not report that.
func (r *retainer) expiredFolders(ctx context.Context, st *history.Mem, before time.Time) (events []history.Event, err error) {
	if r.o.DeletedFolders <= 0 {
		return nil, nil
	}
	for m, err := range st.Mailboxes() {
		if err != nil {
			return nil, err
		}
		at, ok := deletionStamp(m.Name, r.o.DeletedPrefix)
		if !ok || !m.Deleted.IsZero() || !at.Before(before) {
			continue
		}
		// A folder that the mail server still has was sent again after such an event.
		changed, err := r.changedBefore(ctx, m.Commit, before)
		if err != nil {
			return nil, err
		}
		if changed {
			events = append(events, &history.UnmailboxEvent{UniqueID: m.UniqueID, Name: m.Name})
		}
	}
	return events, nil
}

// changedBefore reports whether commit n was made before a time. A commit that was removed from the
// log was old enough for retention, and counts as old enough here.
func (r *retainer) changedBefore(ctx context.Context, n uint64, before time.Time) (bool, error) {
	if n < r.have.log[0].from {
		return true, nil
	}
	at, err := r.madeAt(ctx, n)
	return !at.IsZero() && at.Before(before), err
}

// deletionStamp returns when the mail server has renamed a folder to DELETED.…: the last component
// of the name is the time in hexadecimal (imap/mboxname.c, mboxname_todeleted).
func deletionStamp(name, prefix string) (at time.Time, ok bool) {
	const digits = 8 // from 1978 to 2106
	last := name[strings.LastIndexByte(name, '.')+1:]
	if prefix == "" || !cyrus.IsDeleted(name, prefix) || len(last) != digits {
		return at, false
	}
	sec, err := strconv.ParseInt(last, 16, 64)
	if err != nil || strings.ContainsAny(last, "+-_") {
		return at, false
	}
	return time.Unix(sec, 0), true
}
