package erasure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

var (
	// ErrChanged reports a copy that has appeared since Look: a move has put it there, for example.
	ErrChanged = errors.New("it has changed since it was looked at: run erase again")
	// ErrNewer reports a copy that an interrupted erasure was not about.
	ErrNewer = errors.New("it is not part of the erasure that was interrupted and is complete now, and was not erased: to erase it too, run erase again")
)

// scope is which copies a run of Erase is about.
type scope struct {
	// continues means that a record of an interrupted run decides, and not the survey: meanwhile
	// the name may belong to somebody else.
	continues bool
	ids       map[string]bool // in backup.json
	// damaged are copies without an id.
	damaged map[place]bool
}

// place is where a copy is.
type place struct{ partition, where string }

func placeOf(f *repository.Found) place { return place{f.Partition.Name, f.Where()} }

func (s *scope) add(f *repository.Found) {
	if f.Info.ID == "" {
		s.damaged[placeOf(f)] = true
	} else {
		s.ids[f.Info.ID] = true
	}
}

// has reports whether the run is about a copy. A folder in set-aside/ is about one backup for ever;
// below backups/ another one may have begun.
func (s *scope) has(f *repository.Found) bool {
	return f.Info.ID != "" && s.ids[f.Info.ID] || (f.Aside != "" || f.Info.ID == "") && s.damaged[placeOf(f)]
}

// sorted returns the ids.
func (s *scope) sorted() []string { return slices.Sorted(maps.Keys(s.ids)) }

// lookAgain determines what the run is about. The survey may be old, because a person has read it.
func (j *job) lookAgain(ctx context.Context, s *Survey) error {
	j.scope = scope{ids: map[string]bool{}, damaged: map[place]bool{}}
	for _, p := range j.parts {
		now, err := lookAt(ctx, p.Config, j.name)
		if err != nil {
			return err
		}
		p.part = now
		for _, r := range p.records {
			j.resume(r)
		}
	}
	if j.id == "" {
		j.id = repository.NewID()
	}
	if j.continues {
		return j.addLate(ctx)
	}
	seen := map[place]string{}
	for _, c := range s.Copies {
		j.add(c.Found)
		seen[placeOf(c.Found)] = c.Info.ID
	}
	for _, p := range j.parts {
		for _, f := range p.copies() {
			if id, ok := seen[placeOf(f)]; !ok || id != f.Info.ID {
				return fmt.Errorf("partition %s: %s: %w", p.Name, f.Where(), ErrChanged)
			}
		}
	}
	return nil
}

// resume adds what an unfinished record is about.
func (j *job) resume(r *record) {
	if !r.Unfinished() {
		return
	}
	j.continues = true
	for _, id := range r.IDs {
		j.ids[id] = true
	}
	if j.id == "" && r.State == repository.ErasureBegun {
		j.id = r.ID
	}
}

// mine reports whether the run removes a copy.
func (p *partJob) mine(f *repository.Found) bool {
	if r := p.erasing(f.Aside); r != nil && r.Unfinished() {
		return true
	}
	return p.job.has(f)
}

// rest looks for copies without a lease. newer is about copies that the run leaves.
func (j *job) rest(ctx context.Context) (newer, err error) {
	for _, p := range j.parts {
		now, err := lookAt(ctx, p.Config, j.name)
		if err != nil {
			return nil, err
		}
		for _, f := range now.copies() {
			left := p.leftOver(f)
			if errors.Is(left, ErrChanged) {
				return nil, left
			}
			newer = errors.Join(newer, left)
		}
	}
	return newer, nil
}

func (p *partJob) leftOver(f *repository.Found) error {
	left := ErrChanged
	switch {
	case p.aside[f.Aside] != nil:
		return nil
	case p.mine(f):
	case p.job.continues:
		left = ErrNewer
	case f.Aside == "" && f.Info.ID != "": // a new backup has begun since
		return nil
	}
	return fmt.Errorf("partition %s: %s: %w", p.Name, f.Where(), left)
}

// hasContent reports whether a backup below backups/ has more than leases. If not, only the end of
// an interrupted SetAside is missing.
func hasContent(ctx context.Context, f *repository.Found) (bool, error) {
	for info, err := range f.Partition.Store.List(ctx, repository.BackupPrefix(f.Path), "") {
		if err != nil {
			return false, err
		}
		if info.Key != repository.LockKey(f.Path) && info.Key != repository.UpkeepKey(f.Path) {
			return true, nil
		}
	}
	return false, nil
}

// addLate adds what a collection has left below backups/: it had read the backup before that was set
// aside, and put the list of its packs afterwards. Anything else there is for a person to decide.
func (j *job) addLate(ctx context.Context) error {
	for _, p := range j.parts {
		f := p.whole.Active
		if f == nil || f.Info.ID != "" {
			continue
		}
		only := true
		for info, err := range p.Store.List(ctx, repository.BackupPrefix(f.Path), "") {
			if err != nil {
				return p.failed(err)
			}
			switch info.Key {
			case repository.LockKey(f.Path), repository.UpkeepKey(f.Path), collection.UsesKey(f.Path):
			default:
				only = false
			}
		}
		if only {
			j.damaged[placeOf(f)] = true
		}
	}
	return nil
}
