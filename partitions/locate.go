package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// locate searches every partition for the backup. It returns nil without an error if none
// holds it. A partition that cannot be asked is an error, because it may hold the backup,
// which must not be created elsewhere. known is the partition of the backup in the index;
// nil = none. If the backup continues there, locate returns known even if other partitions
// cannot be asked.
func (s *Set) locate(ctx context.Context, n repository.Name, known *Partition) (*Partition, error) {
	hits, errs := s.lookInto(ctx, n)
	if err := errors.Join(errs...); err != nil {
		if there := hits.in(known); there != nil && unaskable(errs) && goesOnHere(ctx, there) {
			s.log.Debug("a backup is used where the index knew it; another partition cannot be asked", "backup", n.Path(), "partition", known.name, "err", err)
			return known, nil
		}
		return nil, err
	}
	found, err := await(ctx, func() (*repository.Found, error) { return repository.Current(ctx, hits) })
	if err != nil || found == nil {
		return nil, deferred(err)
	}
	return s.partition(found.Partition.Name), nil
}

// copies holds backups with the same name in different partitions.
type copies []*repository.Found

// in returns the copy in a partition; nil if there is none.
func (c copies) in(p *Partition) *repository.Found {
	for _, f := range c {
		if p != nil && f.Partition.Name == p.name {
			return f
		}
	}
	return nil
}

// lookInto asks all partitions for the backup concurrently.
func (s *Set) lookInto(ctx context.Context, n repository.Name) (copies, []error) {
	hits := make([]*repository.Found, len(s.parts))
	errs := make([]error, len(s.parts))
	var g sync.WaitGroup
	for i, p := range s.parts {
		g.Go(func() { hits[i], errs[i] = p.look(ctx, n) })
	}
	g.Wait()
	return slices.DeleteFunc(hits, func(f *repository.Found) bool { return f == nil }), errs
}

// look returns the partition's backup with that name; nil if it has none.
func (p *Partition) look(ctx context.Context, n repository.Name) (*repository.Found, error) {
	repo, err := p.repository(ctx, false)
	if err != nil || repo == nil {
		return nil, deferred(err)
	}
	info, err := await(ctx, func() (*repository.BackupInfo, error) { return repository.ReadBackupInfo(ctx, p.store, n.Path()) })
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, deferred(fmt.Errorf("partition %s: %w", p.name, err))
	}
	return &repository.Found{Partition: p.Config(), Path: n.Path(), Info: *info}, info.Check(n)
}

// unaskable reports whether all errors are about partitions that cannot be used.
func unaskable(errs []error) bool {
	return !slices.ContainsFunc(errs, func(err error) bool {
		at := (*storeError)(nil)
		return err != nil && !(errors.As(err, &at) && at.kind() != "")
	})
}

// goesOnHere reports whether the log does not lead to another partition.
func goesOnHere(ctx context.Context, f *repository.Found) bool {
	ok, err := await(ctx, func() (bool, error) {
		end, err := f.LogEnd(ctx)
		if err != nil || end.Sealed() {
			return false, err
		}
		return end.GoesOn(ctx)
	})
	return err == nil && ok
}

// deferred turns every error of a store into an error that defers the client. Nothing is
// refused and nothing is created until an administrator has repaired the partition.
func deferred(err error) error {
	if e := (*objstore.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("%w: %w", cyrus.ErrLocked, err)
	}
	return err
}

// createInfo writes backup.json. Another host may have just written it.
func (p *Partition) createInfo(ctx context.Context, n repository.Name) (size int64, err error) {
	if _, err := p.repository(ctx, true); err != nil {
		return 0, err
	}
	b, err := json.MarshalIndent(repository.BackupInfo{
		Version: repository.Version, Name: n.Full, Kind: n.Kind,
		Created: p.StoreNow(ctx, time.Time{}).UTC(), ID: repository.NewID(),
	}, "", "  ")
	if err != nil {
		return 0, err
	}
	err = p.putIfAbsent(ctx, repository.BackupInfoKey(n.Path()), append(b, '\n'))
	if !errors.Is(err, objstore.ErrExist) {
		return int64(len(b) + 1), err
	}
	info, err := await(ctx, func() (*repository.BackupInfo, error) { return repository.ReadBackupInfo(ctx, p.store, n.Path()) })
	if err != nil {
		return 0, err
	}
	return 0, info.Check(n)
}
