package erasure

import (
	"context"
	"errors"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lease is the lease of a copy.
type lease struct {
	*repository.Upkeep
	unwatch func() bool // so that its end is no longer the end of everything
}

// leased calls fn while it has the lease of every copy that it removes, and those of collection.
func (j *job) leased(ctx context.Context, fn func(context.Context) error) (err error) {
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		for _, p := range j.parts {
			err = errors.Join(err, p.end(context.WithoutCancel(ctx)))
		}
	}()
	for _, p := range j.parts {
		if err := p.take(ctx); err != nil {
			return p.failed(err)
		}
		if p.collect != nil {
			defer context.AfterFunc(p.collect.Lost(), cancel)()
		}
		for _, l := range p.aside {
			l.unwatch = context.AfterFunc(l.Lost(), cancel)
			defer l.unwatch()
		}
	}
	return fn(during)
}

// take takes the leases of a partition.
func (p *partJob) take(ctx context.Context) (err error) {
	if !p.unfinished() {
		return nil
	}
	if p.collect, err = repository.BeginCollection(ctx, p.Config, p.job.Lock); err != nil {
		return err
	}
	// Another program may have done some of it meanwhile.
	now, err := lookAt(ctx, p.Config, p.job.name)
	if err != nil {
		return err
	}
	p.part = now
	for _, f := range p.whole.Aside {
		if !p.mine(f) {
			continue
		}
		u, err := repository.HoldAside(ctx, f, p.job.Lock)
		if err != nil {
			return err
		}
		p.aside[f.Aside] = &lease{Upkeep: u}
	}
	return nil
}

func (p *partJob) unfinished() bool {
	return slices.ContainsFunc(p.records, func(r *record) bool { return r.Unfinished() })
}

func (p *partJob) leases() (list []*repository.Upkeep) {
	if p.collect != nil {
		list = append(list, p.collect)
	}
	for _, l := range p.aside {
		list = append(list, l.Upkeep)
	}
	return list
}

// check returns an error if any lease can no longer be relied on.
func (p *partJob) check() error {
	for _, u := range p.leases() {
		if err := u.Check(); err != nil {
			return err
		}
	}
	return nil
}

// end releases the leases.
func (p *partJob) end(ctx context.Context) (err error) {
	for _, u := range p.leases() {
		err = errors.Join(err, u.End(ctx))
	}
	p.collect, p.aside = nil, map[string]*lease{}
	return err
}
