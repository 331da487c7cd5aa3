package partitions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// commitTries is how many numbers a command tries to take before it is deferred.
const commitTries = 5

// commitTime bounds a commit. A commit continues after its connection has ended, because an
// interrupted commit costs more than a short delay at shutdown.
const commitTime = 30 * time.Minute

// commit makes the builder's events durable as the next commit and applies them to the
// index. The caller holds the commit mutex, and the backup exists. If another writer has
// taken the number, commit applies that writer's commits and calls recheck, which decides
// whether the events are still valid. An error of recheck ends the command. After nil,
// everything is in the bucket and in the index.
func (b *Backup) commit(ctx context.Context, who Author, bld *history.Builder, recheck func() error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	// Uploads take time, so the index may be out of date since the backup was opened.
	if err := b.again(ctx, b.prove, recheck); err != nil {
		return err
	}
	for range commitTries {
		h := b.header(ctx, who)
		bld.Reheader(h)
		obj, _, err := bld.Finish(nil)
		if err != nil {
			return fmt.Errorf("build commit %d: %w", h.Number, err)
		}
		etag, won, err := b.putCommit(ctx, h, obj)
		if err != nil {
			return fmt.Errorf("put commit %d: %w", h.Number, err)
		}
		if won {
			return b.committed(ctx, h, obj, etag)
		}
		b.set.log.Info("another writer took the number of a commit", "backup", b.path, "number", h.Number)
		if err := b.again(ctx, b.toNewest, recheck); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d numbers were taken by other writers: %w", commitTries, cyrus.ErrLocked)
}

// again updates the index from the bucket, with prove or toNewest, and calls recheck if the
// newest commit in the index has changed.
func (b *Backup) again(ctx context.Context, look func(context.Context) error, recheck func() error) error {
	was, prunes := *b.entry, b.prunes
	err := look(ctx)
	if errors.Is(err, errOtherHistory) {
		err = b.resume(ctx, err)
	}
	switch {
	case err != nil:
		return err
	case b.entry.ID == was.ID && b.entry.Number == was.Number:
		return nil
	}
	if b.prunes != prunes {
		// The commit may name messages again that the backup no longer knows, or whose bodies were erased, or
		// record blocks that were removed because nothing named them.
		return fmt.Errorf("old objects of %s were removed while a commit was made: %w", b.path, cyrus.ErrLocked)
	}
	if ended, err := b.ended(ctx); ended || err != nil {
		return errors.Join(err, b.errMoved())
	}
	if err := b.checkLock(ctx); err != nil {
		return err
	}
	return recheck()
}

// resume rebuilds the index in the middle of a commit. The places of packs in the commit are
// valid only if the index of the partition was not invalidated.
func (b *Backup) resume(ctx context.Context, why error) error {
	epoch := b.epoch
	if err := b.restart(ctx, why); err != nil {
		return err
	}
	b.prunes++ // the state in the bucket may have been pruned
	if b.entry == nil || b.epoch != epoch {
		return fmt.Errorf("%w: %w", why, cyrus.ErrLocked)
	}
	return nil
}

// Author identifies the origin of a commit.
type Author struct {
	Connection, Client string
	At                 time.Time // when the change happened, if it is in the past; zero = now
}

func (b *Backup) header(ctx context.Context, who Author) history.Header {
	t := b.part.StoreNow(ctx, b.entry.Time).UTC()
	here := b.set.opt.Now()
	if b.entry.Time.Sub(t) > storeclock.Bound {
		b.part.clock.NoteAhead(b.path, b.entry.Number, b.entry.Time, t)
	}
	if !who.At.IsZero() {
		t = who.At.UTC()
	}
	if t.Before(b.entry.Time) {
		t = b.entry.Time
	}
	return history.Header{
		Version: history.Version, Backup: b.path, Number: b.entry.Number + 1, Prev: b.entry.Hash,
		Time: t, Host: b.set.opt.Host, Clock: here.UTC().Round(0),
		Connection: who.Connection, Client: who.Client, Random: repository.NewID(),
	}
}

// putCommit puts the object under its number. won is false if another writer has taken the
// number. If the result of a put is unclear, putCommit reads the number back (design.md,
// promise 5), and the ETag is unknown.
func (b *Backup) putCommit(ctx context.Context, h history.Header, obj []byte) (etag string, won bool, err error) {
	key := history.LogKey(b.path, h.Number)
	o := objstore.PutOptions{IfAbsent: b.part.Conditional()}
	won, err = await(ctx, func() (bool, error) {
		i, putErr := b.part.store.Put(ctx, key, bytes.NewReader(obj), o)
		defer func() { b.putAt = moment{b.set.opt.Now(), i.StoreTime} }()
		if o.IfAbsent && errors.Is(putErr, objstore.ErrUnsupported) {
			if o.IfAbsent, err = b.part.stillConditional(ctx); err != nil {
				return false, err
			}
			i, putErr = b.part.store.Put(ctx, key, bytes.NewReader(obj), o)
		}
		if putErr == nil || !o.IfAbsent {
			etag = i.ETag
			return putErr == nil, putErr
		}
		if errors.Is(putErr, objstore.ErrDenied) || errors.Is(putErr, objstore.ErrNoBucket) {
			return false, putErr
		}
		there, err := history.ReadHeader(ctx, b.part.store, b.path, h.Number)
		switch {
		case err == nil:
			return there.Random == h.Random, nil
		case errors.Is(err, objstore.ErrNotExist):
			return false, putErr // the put did not arrive; retry it if putErr is temporary
		case objstore.IsTemporary(err):
			return false, err
		}
		return false, errors.Join(putErr, err)
	})
	return etag, won, err
}

// committed applies a commit of this process to the index. It applies the bytes that were
// put rather than the builder, so that the index matches the result of a rebuild.
func (b *Backup) committed(ctx context.Context, h history.Header, obj []byte, etag string) error {
	slow, before := !b.wasProven() || b.slowByStore(time.Minute), *b.entry
	late := apart(b.provenAt, b.set.opt.Now()) > lateAfter || b.slowByStore(lateAfter)
	if err := b.applyBytes(ctx, h.Number, obj); err != nil {
		return err
	}
	b.entry.ETag = etag
	if slow && h.Number > 1 {
		if err := b.stillFollows(ctx, before, late); err != nil {
			return err
		}
	}
	b.proven()
	b.storeAt = b.putAt.store
	b.set.troubles.ended(troubleScope{backup: b.path}, opening, working)
	b.set.checkpointDue(b)
	return nil
}

// slowByStore reports whether the put of a commit may have taken longer than d by the store's clock.
// No clock of a virtual machine runs while the machine is paused.
func (b *Backup) slowByStore(d time.Duration) bool {
	return !b.storeAt.IsZero() && (b.putAt.store.IsZero() || b.putAt.store.Sub(b.storeAt) > d)
}

// stillFollows verifies, after a slow put, that the commit before still has its own object. If
// not, the log in the bucket was replaced during the put, or this host slept for days and the
// number was merged meanwhile: then readers ignore the commit that was put. A large commit keeps
// its own object, so after a late put the log is listed too. before is the entry without the commit
// that was put.
func (b *Backup) stillFollows(ctx context.Context, before entry, late bool) error {
	i, err := b.stat(ctx, before.Number)
	if err != nil || b.entry.Rebuilding {
		return err
	}
	if i != nil {
		if !late {
			return nil
		}
		ignored, err := b.ignored(ctx, before.Number+1)
		if err != nil || !ignored {
			return err
		}
		err = fmt.Errorf("another commit %d is in the log of %s, in a segment: %w", before.Number+1, b.path, errOtherHistory)
		return b.putInVain(ctx, before, err)
	}
	err = fmt.Errorf("commit %d has vanished from the log of %s while the next one was put: %w", before.Number, b.path, errOtherHistory)
	return b.putInVain(ctx, before, err)
}

// putInVain undoes a commit in the index that readers of the log ignore.
func (b *Backup) putInVain(ctx context.Context, before entry, err error) error {
	*b.entry = before
	return errors.Join(cyrus.ErrLocked, err, b.restart(ctx, err))
}

// ignored reports whether readers ignore the object of a commit, because a segment has another
// commit with its number.
func (b *Backup) ignored(ctx context.Context, n uint64) (ignored bool, err error) {
	log := history.Log{Store: b.part.store, Backup: b.path}
	err = await0(ctx, func() error {
		odd, err := log.Odd(ctx)
		ignored = slices.ContainsFunc(odd, func(o history.Odd) bool { return o.Key == history.LogKey(b.path, n) })
		return err
	})
	return ignored, err
}
