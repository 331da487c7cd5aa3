package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Options are the options of Erase.
type Options struct {
	By, Reason string                 // for people, in the record
	Lock       repository.LockOptions // owner and clock of the leases
}

// Done is the outcome in a partition.
type Done struct {
	Record
	// Unread are objects that could not be read, see repository.Erasure.Unknown. At most
	// collection.MostBlocked of them are kept.
	Unread []collection.BlockedError
	// Unsupported means that the store cannot list former versions.
	Unsupported bool
}

// Erase removes what Look has found, and finishes erasures that were interrupted. It returns
// ErrOnHold, and has changed nothing, if a copy is on hold. When it returns nil, no object of the
// backup is left, and Finish removes the bodies in packs later.
func Erase(ctx context.Context, s *Survey, o Options) ([]Done, error) {
	if err := s.Held(); err != nil {
		return nil, err
	}
	o.Lock.SetDefaults()
	j := &job{Options: o, name: s.Name, id: s.id()}
	for _, p := range s.parts {
		j.parts = append(j.parts, &partJob{part: p, job: j, aside: map[string]*lease{}})
	}
	err := j.run(ctx)
	var out []Done
	for _, p := range j.parts {
		out = append(out, p.done...)
	}
	return out, err
}

// id returns the id of an erasure that was interrupted before it removed anything, or a new one.
func (s *Survey) id() string {
	for _, r := range s.Records {
		if r.State == repository.ErasureBegun {
			return r.ID
		}
	}
	return repository.NewID()
}

// job is one run of Erase.
type job struct {
	Options
	name  repository.Name
	id    string
	parts []*partJob
}

// partJob is a job in one partition.
type partJob struct {
	*part
	job     *job
	collect *repository.Upkeep // keeps collection from copying bodies to other packs
	aside   map[string]*lease  // of the copies
	done    []Done
}

func (j *job) run(ctx context.Context) error {
	for _, p := range j.parts {
		if err := p.begin(ctx); err != nil {
			return p.failed(err)
		}
	}
	for _, f := range j.active(ctx) {
		_, err := f.SetAsideToErase(ctx, "ctl_backups erase", j.Lock)
		if errors.Is(err, repository.ErrNoBackup) {
			continue // another program has set it aside, and what it has left is gone now
		}
		if err != nil {
			return fmt.Errorf("partition %s: set %s aside: %w", f.Partition.Name, f.Path, err)
		}
	}
	return j.leased(ctx, func(ctx context.Context) error {
		for _, step := range []func(*partJob, context.Context) error{(*partJob).prepare, (*partJob).remove} {
			for _, p := range j.parts {
				if err := step(p, ctx); err != nil {
					return p.failed(err)
				}
			}
		}
		return nil
	})
}

func (p *partJob) failed(err error) error { return fmt.Errorf("partition %s: %w", p.Name, err) }

// begin puts the record, if the partition has copies that no other record is about.
func (p *partJob) begin(ctx context.Context) error {
	now, err := p.now(ctx)
	if err != nil || len(p.left()) == 0 && p.whole.Active == nil || p.begun() != nil {
		return err
	}
	return p.add(ctx, p.job.id, now)
}

// add puts a new record.
func (p *partJob) add(ctx context.Context, id string, now time.Time) (err error) {
	r := &record{Erasure: &repository.Erasure{Version: 1, ID: id, Backup: p.job.name.Path(), Name: p.job.name.Full, Kind: p.job.name.Kind,
		By: p.job.By, Reason: p.job.Reason, Since: now.UTC(), State: repository.ErasureBegun, Copies: []string{}}}
	if r.etag, err = r.Put(ctx, p.Store, ""); err != nil {
		return err
	}
	p.records = append(p.records, r)
	return nil
}

// now returns the store's time, or an error if it is uncertain. A partition without a repository
// has nothing to erase.
func (p *partJob) now(ctx context.Context) (time.Time, error) {
	now, err := storeclock.Certain(ctx, p.Store, repository.Key, p.job.Lock.Now, time.Time{})
	if errors.Is(err, objstore.ErrNotExist) && len(p.copies()) == 0 && len(p.records) == 0 {
		return time.Time{}, nil
	}
	return now, err
}

// begun returns the first record of an erasure that has removed nothing yet, or nil.
func (p *partJob) begun() *record {
	for _, r := range p.records {
		if r.State == repository.ErasureBegun {
			return r
		}
	}
	return nil
}

// left returns the copies that were set aside and that no erasure is removing yet.
func (p *partJob) left() (bases []string) {
	for _, f := range p.whole.Aside {
		if r := p.erasing(f.Aside); r == nil || !r.Unfinished() {
			bases = append(bases, f.Aside)
		}
	}
	return bases
}

// active returns the copies to be set aside. The copy in use comes last: while a daemon finds it, it
// does not look at what a move has left.
func (j *job) active(ctx context.Context) []*repository.Found {
	var list, leases []*repository.Found // an interrupted run may have left only leases
	for _, p := range j.parts {
		if p.whole.Active != nil {
			list = append(list, p.whole.Active)
		}
		if p.whole.Leases != nil {
			leases = append(leases, p.whole.Leases)
		}
	}
	current, err := repository.Current(ctx, list)
	if err != nil || current == nil {
		return append(leases, list...) // damaged, or half moved: no order is better
	}
	slices.SortStableFunc(list, func(a, b *repository.Found) int {
		switch current {
		case a:
			return 1
		case b:
			return -1
		}
		return 0
	})
	return append(leases, list...)
}
