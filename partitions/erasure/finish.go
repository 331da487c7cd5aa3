package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Grace is how long after the removal of the copies the users of packs are counted: a writer relies
// on a list of condemned packs for at most ten minutes, and on its commit for an hour.
const Grace = 2 * time.Hour

// mendRecord is what to do with a record that cannot be read. Nothing shows what it is about.
const mendRecord = "put back a former version of this object, or remove it and the lists beside it. Bodies may be left then in packs that others use"

// Open returns the erasures of a partition that are not complete: bodies may be left, or an
// interruption has left copies. Beside them it returns an error that names the records that are
// unreadable.
func Open(ctx context.Context, p repository.Config) (list []*repository.Erasure, err error) {
	var bad error
	var done *repository.Erasure // the last record, if it is done
	for info, err := range p.Store.List(ctx, repository.ErasedPrefix, "") {
		if err != nil {
			return nil, err
		}
		if done != nil && info.Key == repository.ErasurePacksKey(done.ID) { // it follows the record
			list = append(list, done)
		}
		done = nil
		id, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, repository.ErasedPrefix), ".json")
		if !ok {
			continue
		}
		e, _, err := repository.ReadErasure(ctx, p.Store, id)
		switch {
		case errors.Is(err, objstore.ErrNotExist):
		case err != nil && !history.IsDamage(err):
			return nil, err
		case err != nil:
			bad = errors.Join(bad, fmt.Errorf("%w: %s", err, mendRecord))
		case e.State == repository.ErasureDone:
			done = e
		default:
			list = append(list, e)
		}
	}
	return list, bad
}

// Listed returns the erasures whose list of packs can be read. The error names the others: they must
// not keep the packs of other backups from being collected.
func Listed(ctx context.Context, p repository.Config, list []*repository.Erasure) (good []*repository.Erasure, bad error) {
	for _, e := range list {
		if e.State != repository.ErasureDone {
			if err := checkList(ctx, p.Store, e); err != nil {
				bad = errors.Join(bad, fmt.Errorf("erasure %s of %s: bodies may be left in packs that others use, until %s: %w", e.ID, e.Of(), remedy(e), err))
				continue
			}
		}
		good = append(good, e)
	}
	return good, bad
}

// remedy is what to do if the list of packs is lost. That of history can be made again, and a former version may lack
// packs.
func remedy(e *repository.Erasure) string {
	option := PartOption(e)
	switch {
	case !e.InPart():
		return "a former version of this object is put back"
	case !e.Cancelled.IsZero():
		return fmt.Sprintf("it is ended with erase %s --cancel", option)
	}
	return fmt.Sprintf("erase %s is run again, after which every pack of the partition is rewritten (or the erasure is ended with --cancel, and bodies stay)", option)
}

// PartOption returns the options of erase that mean the same part of a backup.
func PartOption(e *repository.Erasure) string {
	if !e.OfMessages() {
		return "--before " + e.Before.Format(time.RFC3339)
	}
	var list []string
	for _, m := range e.Messages {
		list = append(list, "--message "+m.GUID.String())
	}
	return strings.Join(list, " ")
}

// Due reports whether bodies can be removed, or when.
func Due(e *repository.Erasure, now time.Time) (due bool, at time.Time) {
	at = e.Removed.Add(Grace)
	if e.InPart() && e.Cancelled.IsZero() {
		at = e.Removed.Add(HistoryGrace)
		if e.Waits.After(at) {
			at = e.Waits
		}
	}
	return e.State == repository.ErasurePending && now.After(at), at
}

// stillDue reports whether an erasure that was due has not begun to wait again, and its list has not lost packs.
func stillDue(was, now *repository.Erasure) bool {
	return was.State == now.State && was.Removed.Equal(now.Removed) && was.Waits.Equal(now.Waits) && was.Unknown == now.Unknown
}

// Packs yields the packs of erasures in order, each once, for collection.
func Packs(ctx context.Context, p repository.Config, list []*repository.Erasure) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		var all []iter.Seq2[collection.Pack, error]
		for _, e := range list {
			if e.State != repository.ErasureDone {
				all = append(all, readPacks(ctx, p.Store, e.ID))
			}
		}
		for id, err := range merged(all) {
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// Keep is for collection.Options.Keep: it finds the packs of erasures of history that are not done, and not due. Until
// then objects of the backup may name the erased bodies, so that collection would copy them. A record that cannot be
// read may be one of these, for as long as that matters (mayWait). here returns the time of this host.
func Keep(p repository.Config, due []*repository.Erasure, here func() time.Time) func(context.Context) (iter.Seq2[collection.Pack, error], bool, error) {
	return func(ctx context.Context) (packs iter.Seq2[collection.Pack, error], all bool, err error) {
		var waiting []*repository.Erasure
		for e, err := range repository.Erasures(ctx, p, time.Time{}) {
			if err != nil && (e == nil || repository.IsStoreError(err)) {
				return nil, false, err
			}
			isDue := slices.ContainsFunc(due, func(d *repository.Erasure) bool { return d.ID == e.ID && stillDue(d, e) })
			if err == nil && (!e.InPart() || e.State == repository.ErasureDone || isDue) {
				continue
			}
			if err != nil {
				if may, err := mayWait(ctx, p, e.ID, here); err != nil {
					return nil, false, err
				} else if !may {
					continue
				}
			}
			switch err := checkList(ctx, p.Store, e); {
			case err == nil:
				waiting = append(waiting, e)
			case errors.Is(err, objstore.ErrNotExist) && (e.State == "" || e.State == repository.ErasureBegun): // it has named nothing yet
			case !e.Cancelled.IsZero() && history.IsDamage(err): // nothing names its packs, so that no body in them is copied
			case history.IsDamage(err):
				all = true // compact reports it
			default:
				return nil, false, err
			}
		}
		return Packs(ctx, p, waiting), all, nil
	}
}

// mayWait reports whether a record that cannot be read may be of an erasure of history that waits for daemons. It does not
// wait for a person: after half a day, others may have their packs rewritten.
func mayWait(ctx context.Context, p repository.Config, id string, here func() time.Time) (bool, error) {
	info, err := p.Store.Stat(ctx, repository.ErasureKey(id))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return recent(ctx, p, info.Modified, here)
}

// recent reports whether daemons may still be using what a run has left that put its record at a time of the store.
func recent(ctx context.Context, p repository.Config, put time.Time, here func() time.Time) (bool, error) {
	at, err := now(ctx, p, here)
	if err != nil {
		return false, err
	}
	return !put.Before(at.Add(-HistoryGrace)), nil
}

// Sweep removes what has appeared in the place of the copies since they were removed: a delayed
// request may have put it. It also looks for packs that a repair has left (followNotes). It is called before the
// collection, which would count what these objects name, and replaces notes.
func Sweep(ctx context.Context, p repository.Config, list []*repository.Erasure, o repository.LockOptions) (err error) {
	if len(list) == 0 {
		return nil
	}
	o.SetDefaults()
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	m := &remover{store: p.Store, check: u.Check}
	for _, e := range list {
		if err := errors.Join(m.copies(ctx, e), followNotes(ctx, p, u, e)); err != nil {
			return fmt.Errorf("partition %s: erasure %s of %s: %w", p.Name, e.ID, e.Of(), err)
		}
	}
	return nil
}

// copies removes objects that have appeared in the place of copies.
func (r *remover) copies(ctx context.Context, e *repository.Erasure) error {
	if e.State != repository.ErasurePending && e.State != repository.ErasureDone {
		return nil
	}
	for _, base := range e.Copies {
		there, err := repository.IsAside(ctx, r.store, base)
		if err == nil && !there { // else another backup was set aside in the same second
			err = r.empty(ctx, base+"/", nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
