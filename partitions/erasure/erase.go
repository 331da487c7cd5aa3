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
// ErrOnHold, and has changed nothing, if a copy is on hold, and ErrChanged if a copy has appeared since
// Look. If a run was interrupted, it removes what that one was about, and returns ErrNewer if there is
// more. When it returns nil, no object of the backup is left, and Finish removes the bodies in packs
// later.
func Erase(ctx context.Context, s *Survey, o Options) ([]Done, error) {
	if err := s.Held(); err != nil {
		return nil, err
	}
	o.Lock.SetDefaults()
	j := &job{Options: o, name: s.Name}
	for _, p := range s.parts {
		j.parts = append(j.parts, &partJob{part: p, job: j, aside: map[string]*lease{}})
	}
	err := j.run(ctx, s)
	var out []Done
	for _, p := range j.parts {
		out = append(out, p.done...)
	}
	return out, err
}

// job is one run of Erase.
type job struct {
	Options
	scope
	name  repository.Name
	id    string // of an erasure that was interrupted before it removed anything, or a new one
	parts []*partJob
}

// partJob is a job in one partition.
type partJob struct {
	*part
	job     *job
	collect *repository.Upkeep // keeps collection from copying bodies to other packs
	aside   map[string]*lease  // of the copies
	done    []Done

	prepared *record // that is about to be removing
}

func (j *job) run(ctx context.Context, s *Survey) error {
	if err := j.lookAgain(ctx, s); err != nil {
		return err
	}
	for _, p := range j.parts {
		if err := p.begin(ctx); err != nil {
			return p.failed(err)
		}
	}
	if err := j.setAside(ctx); err != nil {
		return err
	}
	return j.leased(ctx, func(ctx context.Context) error {
		for _, p := range j.parts {
			if err := p.lateHolds(ctx); err != nil {
				return p.failed(err)
			}
		}
		if _, err := j.rest(ctx); err != nil {
			return err
		}
		for _, step := range []func(*partJob, context.Context) error{(*partJob).prepare, (*partJob).lateHolds, (*partJob).decide, (*partJob).remove} {
			for _, p := range j.parts {
				if err := step(p, ctx); err != nil {
					return p.failed(err)
				}
			}
		}
		newer, err := j.rest(ctx)
		return errors.Join(newer, err)
	})
}

// setAside sets the copies below backups/ aside.
func (j *job) setAside(ctx context.Context) error {
	list, err := j.active(ctx)
	if err != nil {
		return err
	}
	for _, f := range list {
		where, err := f.SetAsideToErase(ctx, "ctl_backups erase", j.Lock)
		if errors.Is(err, repository.ErrNoBackup) {
			continue // another program has set it aside, and what it has left is gone now
		}
		if err != nil {
			return fmt.Errorf("partition %s: set %s aside: %w", f.Partition.Name, f.Path, err)
		}
		if j.damaged[placeOf(f)] {
			j.damaged[place{f.Partition.Name, where}] = true
		}
	}
	return nil
}

func (p *partJob) failed(err error) error { return fmt.Errorf("partition %s: %w", p.Name, err) }

// begin puts the record, if the partition has copies that no other record is about.
func (p *partJob) begin(ctx context.Context) error {
	now, err := p.now(ctx)
	if err != nil || len(p.left()) == 0 && (p.whole.Active == nil || !p.mine(p.whole.Active)) || p.begun() != nil {
		return err
	}
	return p.add(ctx, p.job.id, now)
}

// add puts a new record.
func (p *partJob) add(ctx context.Context, id string, now time.Time) (err error) {
	r := &record{Erasure: repository.NewErasure(id, p.job.name, time.Time{})}
	r.By, r.Reason, r.Since, r.IDs = p.job.By, p.job.Reason, now.UTC(), p.job.sorted()
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

// left returns the copies of this erasure that were set aside, and that none is removing yet.
func (p *partJob) left() (bases []string) {
	for _, f := range p.whole.Aside {
		if r := p.erasing(f.Aside); (r == nil || !r.Unfinished()) && p.mine(f) {
			bases = append(bases, f.Aside)
		}
	}
	return bases
}

// active returns the copies to be set aside. The copy in use comes last: while a daemon finds it, it
// does not look at what a move has left.
func (j *job) active(ctx context.Context) ([]*repository.Found, error) {
	var list, leases []*repository.Found // an interrupted run may have left only leases
	for _, p := range j.parts {
		if f := p.whole.Active; f != nil {
			there, err := hasContent(ctx, f)
			if err != nil {
				return nil, p.failed(err)
			}
			if p.mine(f) && there {
				list = append(list, f)
			} else if !there {
				leases = append(leases, f)
			}
		}
		if p.whole.Leases != nil {
			leases = append(leases, p.whole.Leases)
		}
	}
	current, err := repository.Current(ctx, list)
	if err != nil || current == nil {
		return append(leases, list...), nil // damaged, or half moved: no order is better
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
	return append(leases, list...), nil
}
