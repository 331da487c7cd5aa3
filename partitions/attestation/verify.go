package attestation

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Given is a list that a person has kept, to compare the bucket with it instead of with the newest list.
type Given struct {
	Signature []byte
	Body      io.Reader // nil: the list in the bucket with the hash that the signature has
}

// verification is a run of Verify in a partition.
type verification struct {
	p     repository.Config
	o     Options
	chain *chain
	given bool // the list is not the newest one
	trial outage
	done  Result
}

// Verify follows the lists of a partition, and compares its backups with the newest list, or with the given one. The
// Result is nil if there is no list. It is no error that something was rewritten or removed: that is reported.
func Verify(ctx context.Context, p repository.Config, given *Given, o Options) (_ *Result, err error) {
	info, err := repository.ReadInfo(ctx, p.Store)
	if isAbsent(err) {
		if err = unmade(ctx, p, o); err == nil && given != nil {
			err = ErrOtherRepository
		}
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	v := &verification{p: p, o: o}
	if v.chain, err = followLists(ctx, p, info.ID, o.Keys, o.Outside); err != nil {
		return nil, fmt.Errorf("partition %s: read the lists: %w", p.Name, err)
	}
	v.done.Lists = v.chain.lists
	list, err := v.list(ctx, given)
	if list == nil || err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, list.Close()) }()
	c := list.Comment
	v.done.Number, v.done.SHA256, v.done.Time = c.List.Number, c.List.SHA256, list.Header.Time
	v.given = given != nil
	if err := v.ofLists(ctx, list); err != nil {
		return nil, err
	}
	j := newJudge(ctx, p, o, list)
	err = eachPair(ctx, p, list, func(ctx context.Context, one pair) compared { return v.compare(ctx, j, one) }, v.use)
	return &v.done, err
}

// ofLists reports the findings about lists that the newest list has recorded, and new ones, but none that a person has
// accepted.
func (v *verification) ofLists(ctx context.Context, list *List) error {
	h := &list.Header
	if v.given {
		newest, err := openNewest(ctx, v.p, v.o, v.chain)
		if err != nil && (ctx.Err() != nil || errors.Is(err, repository.ErrTemporaryFile)) {
			return err
		}
		h = nil
		if newest != nil && err == nil {
			h = &newest.Header
			defer newest.Close()
		}
	}
	for _, f := range settle(h, v.chain.facts, 0, 0).open {
		v.report(nil, &f)
	}
	return nil
}

func (v *verification) report(e *Entry, f *Finding) {
	p := Problem{Partition: v.p.Name, Finding: *f}
	if e != nil {
		p.Backup, p.Name = e.Backup, e.Name
	}
	v.done.Findings++
	v.o.Report(p)
}

// list opens the list to compare with. It returns nil if there is none, and reports a list that cannot be trusted.
func (v *verification) list(ctx context.Context, given *Given) (*List, error) {
	if given != nil {
		return v.open(ctx, given)
	}
	newest, outside := v.chain.newest()
	if newest == nil {
		return nil, fmt.Errorf("partition %s: %w", v.p.Name, ErrNone)
	}
	v.done.OnlyOutside = outside
	v.checkCopy()
	list, err := openNewest(ctx, v.p, v.o, v.chain)
	if err != nil && ctx.Err() == nil && !errors.Is(err, repository.ErrVersion) && !errors.Is(err, repository.ErrTemporaryFile) && (!repository.IsStoreError(err) || isAbsent(err)) {
		v.chain.facts.add(finding(OfList, "the newest list cannot be read, so nothing can be compared with it: %v", err))
		for _, f := range v.chain.facts {
			v.report(nil, &f)
		}
		return nil, ErrNoList
	}
	return list, err
}

// checkCopy reports a copy that lacks lists, except for the last one: a run may have been interrupted before it.
func (v *verification) checkCopy() {
	c := v.chain
	switch {
	case v.o.Outside == nil || c.bucket == nil:
	case c.outside == nil:
		v.report(nil, finding(OfList, "%v", ErrNoCopy))
	case len(c.uncopied) > 1:
		v.report(nil, finding(OfList, "the copy outside of the bucket lacks %d lists, from list %d on: run ctl_backups seal -A --to, which copies them", len(c.uncopied), c.uncopied[0]))
	}
}

// ErrNone reports a partition without any list.
var ErrNone = errors.New("there is no signed list: run ctl_backups seal -A every night")

// ErrNoList reports that the backups were not compared, because the newest list is lost.
var ErrNoList = errors.New("the backups were not compared with a list: name an older one, ctl_backups verify --seals FILE")

// open opens the list that a person has kept. The bucket must have it, too.
func (v *verification) open(ctx context.Context, g *Given) (*List, error) {
	c, err := v.o.Keys.comment(g.Signature)
	if err != nil {
		return nil, err
	}
	if c.Repository != v.chain.repository {
		return nil, ErrOtherRepository
	}
	found, _, err := repository.ReadSmall(ctx, v.p.Store, SignatureKey(c.List.Number))
	switch {
	case isAbsent(err):
		v.report(nil, finding(OfList, "the bucket does not have list %d (%s): it was removed, or the bucket was set back to an older state", c.List.Number, shown(c.Time)))
	case err != nil:
		return nil, err
	default:
		if other, err := v.o.Keys.comment(found); err != nil || other.List != c.List {
			v.report(nil, finding(OfList, "the bucket has another list %d than the given one", c.List.Number))
		}
	}
	if g.Body != nil {
		return v.o.Keys.Read(g.Body, g.Signature)
	}
	return v.o.Keys.Open(ctx, v.p.Store, c, g.Signature)
}

// ErrOtherRepository reports a list of another partition.
var ErrOtherRepository = errors.New("the list is of another repository")

// compared is the result for a pair.
type compared struct {
	pair
	verdicts []verdict
	err      error
}

// compare compares a backup with its line, and with the state beside the findings in it.
func (v *verification) compare(ctx context.Context, j *judge, one pair) compared {
	out := compared{pair: one}
	e := one.listed
	if e == nil || e.Gone != "" {
		return out
	}
	was, err := j.entry(ctx, e, one.found)
	out.add(was, err)
	if was.finding != nil && e.Now != nil && err == nil && one.found != nil {
		out.add(j.entry(ctx, e.with(e.Now), one.found))
	}
	if one.found != nil && out.err == nil && !isAside(one.place) {
		f, err := j.continuedSince(ctx, e, one.found)
		out.add(verdict{finding: f}, err)
	}
	if one.found != nil && out.err == nil && e.ID != "" && !isAside(one.place) && !one.found.ListsInfo() {
		_, err := repository.FindPath(ctx, j.p, e.Backup)
		if errors.Is(err, repository.ErrNoBackup) && len(out.verdicts) == 0 {
			out.err = fmt.Errorf("%w", repository.ErrIncomplete)
		}
	}
	return out
}

// add adds a verdict that is not silent.
func (c *compared) add(v verdict, err error) {
	if err != nil {
		c.err = err
		return
	}
	if v != (verdict{}) {
		c.verdicts = append(c.verdicts, v)
	}
}

// use counts and reports a result.
func (v *verification) use(out compared) error {
	e := out.listed
	if e == nil {
		if isAside(out.place) || out.found.ListsInfo() {
			v.done.New++
		}
		return nil
	}
	if err := v.trial.count(v.p, out.err); err != nil {
		return err
	}
	if !v.given {
		for _, f := range e.Findings {
			v.report(e, &f)
		}
	}
	if e.Gone != "" {
		return nil
	}
	v.done.Backups++
	if out.err != nil {
		v.done.Unreadable++
		v.o.Report(Problem{Partition: v.p.Name, Backup: e.Backup, Name: e.Name, Finding: Finding{Kind: Unreadable, Text: out.err.Error()}, Outage: failedRequest(out.err)})
	}
	for _, one := range out.verdicts {
		if one.finding != nil && (v.given || !e.knows(one.finding)) {
			v.report(e, one.finding)
		}
		v.o.note(e.Backup, one.gone != "", one.why)
		if one.gone != "" {
			v.done.Gone++
		}
		if one.shortened {
			v.done.Shortened++
		}
	}
	return nil
}
