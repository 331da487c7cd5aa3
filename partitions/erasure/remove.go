package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// remover removes objects of a partition with all their versions.
type remover struct {
	store objstore.Store
	// check returns an error if a lease can no longer be relied on. It is called before each delete.
	check func() error
	// retained is set if Object Lock forbids the removal of a version. The object is then hidden
	// by a delete marker.
	retained *objstore.RetainedError
	// objects counts the objects that were removed.
	objects int
	// only chooses the keys whose former versions are removed; nil = all.
	only func(key string) bool
	// unsupported is set if the store cannot list former versions.
	unsupported bool
}

// empty removes the objects below a prefix, unless skip chooses them, and then their
// former versions.
func (r *remover) empty(ctx context.Context, prefix string, skip func(key string) bool) error {
	for info, err := range r.store.List(ctx, prefix, "") {
		if err == nil && skip != nil && skip(info.Key) {
			continue
		}
		if err == nil {
			err = r.check()
		}
		if err == nil {
			err = r.store.Delete(ctx, info.Key)
		}
		if err != nil {
			return err
		}
		r.objects++
	}
	last := ""
	for v, err := range r.store.Noncurrent(ctx, prefix, "") {
		if errors.Is(err, objstore.ErrUnsupported) {
			r.unsupported = true
			return nil
		}
		if err != nil {
			return err
		}
		if v.Key == last || skip != nil && skip(v.Key) {
			continue
		}
		if last = v.Key; last != "" {
			if err := r.erase(ctx, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// erase removes one object with its versions. A retained version is no error.
func (r *remover) erase(ctx context.Context, key string) error {
	if err := r.check(); err != nil {
		return err
	}
	err := objstore.EraseObject(ctx, r.store, key)
	if errors.Is(err, objstore.ErrUnsupported) {
		r.unsupported = true
		return nil
	}
	return r.keep(err)
}

// keep notes that a version is retained, and returns any other error.
func (r *remover) keep(err error) error {
	kept := (*objstore.RetainedError)(nil)
	if !errors.As(err, &kept) {
		return err
	}
	if r.retained == nil {
		r.retained = &objstore.RetainedError{}
	}
	r.retained.LegalHold = r.retained.LegalHold || kept.LegalHold
	if kept.Until.After(r.retained.Until) {
		r.retained.Until = kept.Until
	}
	return nil
}

// note puts into the record what keeps versions from being removed.
func (r *remover) note(e *repository.Erasure) {
	if r.retained != nil {
		e.Retained, e.LegalHold = r.retained.Until.UTC(), r.retained.LegalHold
	}
}

// former removes the former versions below a prefix that are not younger than cut. A new backup of
// the same name may be writing there: its objects are current, or younger.
func (r *remover) former(ctx context.Context, prefix string, cut time.Time) error {
	var some []objstore.Version // of one key
	for v, err := range r.store.Noncurrent(ctx, prefix, "") {
		if errors.Is(err, objstore.ErrUnsupported) {
			r.unsupported = true
			return nil
		}
		if err != nil {
			return err
		}
		if len(some) > 0 && some[0].Key != v.Key {
			if err := r.versions(ctx, some, cut); err != nil {
				return err
			}
			some = some[:0]
		}
		if r.only != nil && !r.only(v.Key) {
			continue
		}
		some = append(some, v)
	}
	return r.versions(ctx, some, cut)
}

// versions removes versions of one key: first those with content, so that no version becomes
// current because its delete marker is gone.
func (r *remover) versions(ctx context.Context, list []objstore.Version, cut time.Time) error {
	kept := false
	for _, markers := range []bool{false, true} {
		for _, v := range list {
			if v.Marker != markers || kept && markers {
				continue
			}
			if v.Modified.IsZero() || v.Modified.After(cut) {
				continue
			}
			if err := r.check(); err != nil {
				return err
			}
			err := r.store.DeleteVersion(ctx, v)
			kept = kept || errors.Is(err, objstore.ErrRetained)
			if markers && errors.Is(err, objstore.ErrPrecondition) {
				continue // it hides a version that is younger than the erasure
			}
			if err := r.keep(err); err != nil {
				return fmt.Errorf("remove former versions of %s: %w", v.Key, err)
			}
		}
	}
	return nil
}
