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

// locate looks for the backup in every partition. nil without an error means that
// none holds it; a partition that cannot be asked is an error, for what it may hold
// must not be created elsewhere. known is the partition that the index knew it in, nil
// when it knew of none: a backup that goes on there is used, whatever others answer.
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

// copies are backups of the same name in different partitions.
type copies []*repository.Found

// in is the copy in a partition; nil when there is none.
func (c copies) in(p *Partition) *repository.Found {
	for _, f := range c {
		if p != nil && f.Partition.Name == p.name {
			return f
		}
	}
	return nil
}

// lookInto asks every partition for the backup, all at once.
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

// look is the partition's backup of that name; nil when it has none.
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

// unaskable reports that all errors are about partitions that cannot be reached.
func unaskable(errs []error) bool {
	return !slices.ContainsFunc(errs, func(err error) bool {
		at := (*storeError)(nil)
		return err != nil && !(errors.As(err, &at) && at.kind() != "")
	})
}

// goesOnHere reports that the log does not lead to another partition.
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

// deferred makes an error of a store, of any kind, into an error that defers the client: an
// administrator who mends the partition shall find nothing refused and nothing created.
func deferred(err error) error {
	if e := (*objstore.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("%w: %w", cyrus.ErrLocked, err)
	}
	return err
}

// createInfo writes backup.json; another host may have done it a moment ago.
func (p *Partition) createInfo(ctx context.Context, n repository.Name) error {
	if _, err := p.repository(ctx, true); err != nil {
		return err
	}
	b, err := json.MarshalIndent(repository.BackupInfo{
		Version: repository.Version, Name: n.Full, Kind: n.Kind,
		Created: p.StoreNow(ctx, time.Time{}).UTC(), ID: repository.NewID(),
	}, "", "  ")
	if err != nil {
		return err
	}
	err = p.putIfAbsent(ctx, repository.BackupInfoKey(n.Path()), append(b, '\n'))
	if !errors.Is(err, objstore.ErrExist) {
		return err
	}
	info, err := await(ctx, func() (*repository.BackupInfo, error) { return repository.ReadBackupInfo(ctx, p.store, n.Path()) })
	if err != nil {
		return err
	}
	return info.Check(n)
}
