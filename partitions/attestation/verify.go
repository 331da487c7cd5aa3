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
	id    string // of the repository
	chain *chain
	done  Result
}

// Verify follows the lists of a partition, and compares its backups with the newest list, or with the given one. The
// Result is nil if there is no list. It is no error that something was rewritten or removed: that is reported.
func Verify(ctx context.Context, p repository.Config, given *Given, o Options) (_ *Result, err error) {
	info, err := repository.ReadInfo(ctx, p.Store)
	if isAbsent(err) && given == nil {
		return nil, unmade(ctx, p, o)
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	v := &verification{p: p, o: o, id: info.ID}
	v.chain = &chain{keys: o.Keys, repository: info.ID, report: func(f *Finding) { v.report(nil, f) }}
	if err := v.chain.follow(ctx, p.Store, o.Outside); err != nil {
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
	if c.List.Number > v.chain.acknowledged() {
		if err := v.recorded(list); err != nil {
			return nil, err
		}
	}
	j := &judge{p: p, at: list.Header.Time, now: timeOf(ctx, p, o.Now), retains: o.Retains}
	err = eachPair(ctx, p, list, func(ctx context.Context, one pair) compared { return compare(ctx, j, one) }, v.use)
	return &v.done, err
}

func (v *verification) report(e *Entry, f *Finding) {
	p := Problem{Partition: v.p.Name, Finding: *f}
	if e != nil {
		p.Backup, p.Name = e.Backup, e.Name
	}
	v.done.Findings++
	v.o.Report(p)
}

func (v *verification) note(backup, format string, args ...any) {
	if v.o.Note != nil {
		v.o.Note(backup, fmt.Sprintf(format, args...))
	}
}

// list opens the list to compare with. It returns nil if there is none, and reports a list that cannot be trusted.
func (v *verification) list(ctx context.Context, given *Given) (*List, error) {
	if given != nil {
		return v.given(ctx, given)
	}
	newest, outside := v.chain.newest()
	if newest == nil {
		return nil, fmt.Errorf("partition %s: %w", v.p.Name, ErrNone)
	}
	v.done.OnlyOutside = outside
	v.checkCopy()
	if err := v.openFindings(ctx, newest.Number); err != nil {
		return nil, err
	}
	list, err := openNewest(ctx, v.p, v.o, v.chain)
	if err != nil && ctx.Err() == nil && !errors.Is(err, repository.ErrVersion) && !errors.Is(err, repository.ErrTemporaryFile) && (!repository.IsStoreError(err) || isAbsent(err)) {
		v.report(nil, finding(OfList, "the newest list cannot be read, so nothing can be compared with it: %v", err))
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

// openFindings reports the findings of older lists that nobody has acknowledged.
func (v *verification) openFindings(ctx context.Context, newest uint64) error {
	for _, l := range v.chain.open() {
		if l.Number == newest {
			continue // its lines follow
		}
		v.report(nil, unacknowledged(l))
		list, err := v.o.Keys.Open(ctx, v.p.Store, l.Comment, l.Signature)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, repository.ErrTemporaryFile) {
				return err
			}
			v.report(nil, finding(OfList, "list %d cannot be read: %v", l.Number, err))
			continue
		}
		if err := errors.Join(v.recorded(list), list.Close()); err != nil {
			return err
		}
	}
	return nil
}

// ErrNone reports a partition without any list.
var ErrNone = errors.New("there is no signed list: run ctl_backups seal -A every night")

// ErrNoList reports that the backups were not compared, because the newest list is lost.
var ErrNoList = errors.New("the backups were not compared with a list: name an older one, ctl_backups verify --seals FILE")

// given opens the list that a person has kept. The bucket must have it, too.
func (v *verification) given(ctx context.Context, g *Given) (*List, error) {
	c, err := v.o.Keys.comment(g.Signature)
	if err != nil {
		return nil, err
	}
	if c.Repository != v.id {
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

// recorded reports what the list itself has recorded since the list before it.
func (v *verification) recorded(l *List) error {
	for _, text := range l.Header.Findings {
		v.report(nil, finding(OfList, "recorded in list %d: %s", l.Header.Number, text))
	}
	if l.Comment.Findings == len(l.Header.Findings) {
		return nil
	}
	for e, err := range l.Entries() {
		if err != nil {
			return err
		}
		if e.Finding != nil {
			v.report(e, finding(e.Finding.Kind, "recorded in list %d: %s", l.Header.Number, e.Finding.Text))
		}
	}
	return nil
}

// compared is the result for a pair.
type compared struct {
	pair
	verdict verdict
	err     error
}

func compare(ctx context.Context, j *judge, one pair) compared {
	out := compared{pair: one}
	if one.listed != nil {
		out.verdict, out.err = j.entry(ctx, one.listed, one.found)
	}
	return out
}

// use counts and reports a result.
func (v *verification) use(out compared) error {
	e := out.listed
	switch {
	case e == nil && errors.Is(out.pair.err, repository.ErrIncomplete):
		return nil
	case e == nil:
		v.done.New++
		return nil
	}
	v.done.Backups++
	switch {
	case out.err != nil:
		v.done.Unreadable++
		v.o.Report(Problem{Partition: v.p.Name, Backup: e.Backup, Name: e.Name, Finding: Finding{Unreadable, out.err.Error()}})
	case out.verdict.finding != nil:
		v.report(e, out.verdict.finding)
	case out.verdict.why != "":
		v.note(e.Backup, "%s", out.verdict.why)
	}
	if out.verdict.gone != "" {
		v.done.Gone++
	}
	if out.verdict.shortened {
		v.done.Shortened++
	}
	return nil
}
