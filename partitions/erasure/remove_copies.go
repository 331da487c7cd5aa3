package erasure

import (
	"context"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// remove removes the copies, and ends the erasures that have nothing to do.
func (p *partJob) remove(ctx context.Context) error {
	if err := p.removeRecorded(ctx); err != nil {
		return err
	}
	if p.begun() != nil {
		return p.nothing(ctx)
	}
	return nil
}

// Resume removes the copies of erasures of a backup that were interrupted after their packs were
// put on record. It erases nothing else.
func Resume(ctx context.Context, c repository.Config, n repository.Name, o repository.LockOptions) ([]Done, error) {
	o.SetDefaults()
	found, err := lookAt(ctx, c, n)
	if err != nil {
		return nil, err
	}
	j := &job{Options: Options{Lock: o}, name: n}
	p := &partJob{part: found, job: j, aside: map[string]*lease{}}
	j.parts = []*partJob{p}
	err = j.leased(ctx, p.removeRecorded)
	if err != nil {
		err = p.failed(err)
	}
	return p.done, err
}

// removeRecorded removes the copies of the erasures that have come so far.
func (p *partJob) removeRecorded(ctx context.Context) error {
	for _, r := range p.records {
		if r.State != repository.ErasureRemoving {
			continue
		}
		if err := p.removeCopies(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (p *partJob) removeCopies(ctx context.Context, r *record) error {
	if err := p.nameAgain(ctx, r); err != nil {
		return err
	}
	m := &remover{store: p.Store, check: p.check}
	for _, base := range r.Copies {
		if err := p.removeCopy(ctx, m, base); err != nil {
			return err
		}
	}
	if err := m.former(ctx, repository.BackupPrefix(r.Backup), r.Cut); err != nil {
		return err
	}
	now, err := p.now(ctx)
	if err != nil {
		return err
	}
	r.State, r.Removed = repository.ErasurePending, now.UTC()
	m.note(r.Erasure)
	i := slices.IndexFunc(p.done, func(d Done) bool { return d.ID == r.ID })
	if i < 0 {
		i, p.done = len(p.done), append(p.done, Done{Record: Record{p.Name, r.Erasure}})
	}
	p.done[i].Unsupported = m.unsupported
	return p.put(ctx, r)
}

// removeCopy removes a copy. Its description comes last, and then the lease, so that an interrupted
// erasure finds the copy again.
func (p *partJob) removeCopy(ctx context.Context, m *remover, base string) error {
	prefix, description := base+"/", repository.AsideInfoKey(base)
	if l, leased := p.aside[base]; leased {
		if err := m.empty(ctx, prefix, func(key string) bool { return key == description || strings.HasSuffix(key, "/upkeep.json") }); err != nil {
			return err
		}
		if err := m.erase(ctx, description); err != nil {
			return err
		}
		delete(p.aside, base)
		l.unwatch()
		if err := l.Remove(ctx); err != nil {
			return err
		}
	}
	return m.empty(ctx, prefix, nil)
}
