package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// checkRetired returns an error if the list of notes that nothing needs cannot be read.
func checkRetired(ctx context.Context, s objstore.Store) (err error) {
	list, err := history.OpenRetired(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, list.Close()) }()
	for _, err := range list.Notes() {
		if err != nil {
			return err
		}
	}
	return nil
}

// retired replaces a damaged list of notes. The new list has the removals that can be read in the old one. It shows that
// others may have begun, and all notes wait from the start. Collection must not run meanwhile.
func (r *repairer) retired(ctx context.Context) (err error) {
	if !r.diagnosis.retired {
		return nil
	}
	lease, err := repository.BeginCollection(ctx, r.f.Partition, r.o.Lock)
	if err != nil {
		return fmt.Errorf("repair %s: %w", history.RetiredKey, err)
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	if err := checkRetired(ctx, r.store); err == nil || !history.IsUnreadable(err) {
		return err
	}
	info, err := r.store.Stat(ctx, history.RetiredKey)
	if err != nil {
		return ignoreAbsent(err)
	}
	// A removal that the damage hides has begun before the list was put.
	to, err := history.NewRetiredFile(info.Modified.UTC())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	n, err := r.readableRetired(ctx, to)
	if err != nil {
		return err
	}
	body, err := to.Body()
	if err == nil {
		err = lease.Check()
	}
	if err != nil {
		return err
	}
	if _, err := r.store.Put(ctx, history.RetiredKey, body, objstore.PutOptions{IfMatch: info.ETag}); err != nil {
		return err
	}
	r.report(Repaired, history.RetiredKey, "made again, with %s that can be read: the index of a daemon that knows one of the other packs is read from the bucket again", english.Plural(n, "removed note", ""))
	return nil
}

// readableRetired adds the removals that can be read to a new list, and returns their number.
func (r *repairer) readableRetired(ctx context.Context, to *history.RetiredFile) (n int, err error) {
	list, err := history.OpenRetired(ctx, r.store)
	if history.IsDamage(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, list.Close()) }()
	for line, err := range list.Notes() {
		if history.IsDamage(err) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if line.Removed.IsZero() {
			continue
		}
		n++
		if err := to.Add(history.RetiredNote{Pack: line.Pack, Removed: line.Removed}); err != nil {
			return n, err
		}
	}
	return n, nil
}
