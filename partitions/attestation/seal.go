package attestation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aead.dev/minisign"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Options are the options of Seal and Verify.
type Options struct {
	Keys PublicKeys
	// Outside is a store that nobody can reach who can write to the bucket, with a copy of the lists; nil = none.
	Outside objstore.Store
	Host    string
	Now     func() time.Time // of this host
	// Retains means that retention may remove old commits (backup_retention).
	Retains bool
	// NewCopy allows that Outside has no list yet, although the bucket has some.
	NewCopy bool
	// Acknowledge is set by a person who has looked at the findings of all lists before.
	Acknowledge bool
	// Report is called for each finding, on the goroutine of the caller.
	Report func(Problem)
	// Note is called with facts for people: a backup was erased, for example. May be nil.
	Note func(backup, text string)
}

// Result describes a list that was made or compared.
type Result struct {
	Number    uint64
	SHA256    string
	Signature []byte
	Time      time.Time // of the list
	Totals
	New       int // backups that the list before does not have
	Shortened int // backups whose old commits retention has removed since the list before
	Lists     int // in the bucket
	// Other means that another host has made this list at the same time.
	Other bool
	// OnlyOutside means that the bucket does not have the list.
	OnlyOutside bool
}

// ErrOutside reports that the list is in the bucket, but not completely in the copy outside of it. The next run copies it.
var ErrOutside = errors.New("the copy outside of the bucket is not complete; the next run continues it")

// sealing is a run of Seal in a partition.
type sealing struct {
	p     repository.Config
	o     Options
	key   minisign.PrivateKey
	info  *repository.Info
	chain *chain
	judge *judge
	done  Result
	notes []string // findings about lists, for the header
	again bool     // an attempt before has reported the backups
}

// mostTries is how often a run begins again because a number is taken.
const mostTries = 5

// mostFindings is how many findings about lists a header names.
const mostFindings = 20

// Seal makes the next list of a partition, puts it into the bucket, and copies it outside. Findings are in the list, and
// are no error. The Result is nil if there is no list: beside an error, or if the partition has no repository yet. Beside
// a Result, an error is one of the copy.
func Seal(ctx context.Context, p repository.Config, key minisign.PrivateKey, o Options) (*Result, error) {
	info, err := repository.ReadInfo(ctx, p.Store)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, unmade(ctx, p, o)
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	if !o.Keys.Has(Public(key)) {
		o.Keys = append(PublicKeys{Public(key)}, o.Keys...)
	}
	reported := map[string]bool{}
	for try := 1; ; try++ {
		s := &sealing{p: p, o: o, key: key, info: info, again: try > 1}
		again, err := s.run(ctx, reported)
		switch {
		case again && try < mostTries:
		case s.done.SHA256 == "":
			return nil, err
		default:
			return &s.done, err
		}
	}
}

// ErrEmptied reports a partition without repository.json, although there are lists of it.
var ErrEmptied = errors.New("repository.json is missing, and there are signed lists: the partition was emptied, or another disk or bucket is in its place")

// unmade returns nil if a partition without repository.json was never used. Lists, in it or in the copy, show that it was.
func unmade(ctx context.Context, p repository.Config, o Options) error {
	for _, s := range []objstore.Store{p.Store, o.Outside} {
		if s == nil {
			continue
		}
		for _, err := range s.List(ctx, Prefix, "") {
			if err == nil {
				o.Report(Problem{Partition: p.Name, Finding: Finding{OfList, ErrEmptied.Error()}})
				err = ErrEmptied
			}
			return fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	if o.Note != nil {
		o.Note("", "nothing was stored there yet, so there is no list")
	}
	return nil
}

// run makes one attempt. again means that the number was taken by something that is not genuine.
func (s *sealing) run(ctx context.Context, reported map[string]bool) (again bool, err error) {
	outside := s.follow(ctx, reported)
	if s.chain == nil {
		return false, outside
	}
	if err := s.checkCopy(); err != nil {
		outside = errors.Join(outside, err)
	}
	if !s.o.Acknowledge && !s.again {
		for _, l := range s.chain.open() {
			s.o.Report(Problem{Partition: s.p.Name, Finding: *unacknowledged(l)})
		}
	}
	now := s.now(ctx)
	before, err := s.before(ctx)
	if err != nil {
		return false, err
	}
	if before != nil {
		defer func() { err = errors.Join(err, before.Close()) }()
	}
	w, err := newWriter(s.header(now))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	s.judge = &judge{p: s.p, now: now, retains: s.o.Retains}
	if before != nil {
		s.judge.at = before.Header.Time
	}
	err = eachPair(ctx, s.p, before, s.look, func(out looked) error { return s.use(w, out) })
	if err != nil {
		return false, err
	}
	list, err := w.sign(s.key)
	if err != nil {
		return false, err
	}
	if again, err = s.publish(ctx, list); again || err != nil {
		return again, err
	}
	s.done.Totals = w.totals
	return false, errors.Join(outside, s.mirror(ctx))
}

// follow reads the lists before. If the copy outside cannot be read, the error is ErrOutside, and the bucket alone counts.
func (s *sealing) follow(ctx context.Context, reported map[string]bool) error {
	next := func(outside objstore.Store) (*chain, error) {
		s.notes = nil
		c := &chain{keys: s.o.Keys, repository: s.info.ID, report: func(f *Finding) {
			if len(s.notes) < mostFindings {
				s.notes = append(s.notes, cut(f.Text))
			}
			if !reported[f.Text] {
				reported[f.Text] = true
				s.o.Report(Problem{Partition: s.p.Name, Finding: *f})
			}
		}}
		return c, c.follow(ctx, s.p.Store, outside)
	}
	c, err := next(s.o.Outside)
	if err == nil {
		s.chain = c
		return nil
	}
	if s.o.Outside != nil && ctx.Err() == nil {
		if c, berr := next(nil); berr == nil {
			s.chain, s.o.Outside = c, nil
			return fmt.Errorf("partition %s: %w: %w", s.p.Name, ErrOutside, err)
		}
	}
	return fmt.Errorf("partition %s: read the lists before: %w", s.p.Name, err)
}

// ErrNoCopy reports a copy outside of the bucket without any list: it is the wrong place, or a disk that is not mounted.
var ErrNoCopy = errors.New("the copy outside of the bucket has no list, and the bucket has some: is it the right place, and mounted? For a new copy, run seal --new-copy once")

// checkCopy returns ErrNoCopy, and forgets such a copy.
func (s *sealing) checkCopy() error {
	if s.o.Outside == nil || s.o.NewCopy || s.chain.outside != nil || s.chain.bucket == nil {
		return nil
	}
	s.o.Outside = nil
	text := fmt.Sprintf("%v", ErrNoCopy)
	s.o.Report(Problem{Partition: s.p.Name, Finding: Finding{OfList, text}})
	return fmt.Errorf("partition %s: %w", s.p.Name, ErrNoCopy)
}

// now returns the store's time, or that of this host if the two differ.
func (s *sealing) now(ctx context.Context) time.Time { return timeOf(ctx, s.p, s.o.Now) }

func timeOf(ctx context.Context, p repository.Config, host func() time.Time) time.Time {
	at, err := storeclock.Certain(ctx, p.Store, repository.Key, host, time.Time{})
	if err != nil {
		at = host()
	}
	return at.UTC().Round(0)
}

// before opens the list before; nil if there is none that can be read. A list that was removed or changed is a finding
// already, and no reason to make no other.
func (s *sealing) before(ctx context.Context) (*List, error) {
	l, err := openNewest(ctx, s.p, s.o, s.chain)
	if err == nil || ctx.Err() != nil {
		return l, err
	}
	if repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist) || errors.Is(err, repository.ErrTemporaryFile) {
		return nil, fmt.Errorf("partition %s: read the list before: %w", s.p.Name, err)
	}
	if errors.Is(err, repository.ErrVersion) {
		return nil, err
	}
	text := cut(fmt.Sprintf("the newest list cannot be read: %v", err))
	s.notes = append(s.notes, text)
	if !s.again {
		s.o.Report(Problem{Partition: s.p.Name, Finding: Finding{OfList, text}})
	}
	if older := s.chain.second; older != nil {
		if l, oerr := s.o.Keys.Open(ctx, s.p.Store, older.Comment, older.Signature); oerr == nil {
			return l, nil
		}
	}
	return nil, nil
}

// openNewest opens the newest list, from the bucket or from the copy; nil = there is none.
func openNewest(ctx context.Context, p repository.Config, o Options, c *chain) (*List, error) {
	l, onlyOutside := c.newest()
	if l == nil {
		return nil, nil
	}
	if onlyOutside {
		return o.Keys.Open(ctx, o.Outside, l.Comment, l.Signature)
	}
	list, err := o.Keys.Open(ctx, p.Store, l.Comment, l.Signature)
	if err != nil && o.Outside != nil && ctx.Err() == nil {
		if copied, cerr := o.Keys.Open(ctx, o.Outside, l.Comment, l.Signature); cerr == nil {
			return copied, nil
		}
	}
	return list, err
}

// header describes the new list.
func (s *sealing) header(now time.Time) Header {
	h := Header{Version: Version, Number: s.chain.next(), Partition: s.p.Name, Repository: s.info.ID, Time: now, Host: s.o.Host,
		Clock: s.o.Now().UTC().Round(0), Findings: s.notes}
	if l, _ := s.chain.newest(); l != nil {
		h.Previous, h.Acknowledged = &l.Comment.List, l.Comment.Acknowledged
		if s.o.Acknowledge {
			h.Acknowledged = l.Number
		}
	}
	s.done.Number, s.done.Time = h.Number, now
	return h
}
