package attestation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aead.dev/minisign"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Options are the options of Seal and Verify.
type Options struct {
	Keys PublicKeys
	// Outside is a store that nobody can reach who can write to the bucket, with a copy of the lists; nil = none.
	Outside objstore.Store
	Host    string
	Now     func() time.Time // of this host
	// Retention is backup_retention: retention removes nothing that is younger. 0 = it removes nothing.
	Retention time.Duration
	// Partitions are all of this server: a backup may have moved to one of them.
	Partitions []repository.Config
	// NewCopy allows that Outside has no list yet, although the bucket has some.
	NewCopy bool
	// Accept is the number of a list: a person has looked at the findings that this list and those before have recorded.
	// They are not reported any more. 0 = nothing is accepted.
	Accept uint64
	// By is that person.
	By string
	// TrustETags skips backups whose objects have the ETags of the list before. A directory has none that somebody with
	// access to its files could not forge.
	TrustETags bool
	// Report is called for each finding, on the goroutine of the caller.
	Report func(Problem)
	// Note is called with facts for people. gone: a backup was erased or set aside. May be nil.
	Note func(backup string, gone bool, text string)
}

func (o *Options) note(backup string, gone bool, text string) {
	if o.Note != nil && text != "" {
		o.Note(backup, gone, text)
	}
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
	trial outage
	again bool // an attempt before has reported the backups
}

// mostTries is how often a run begins again because a number is taken.
const mostTries = 5

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
	if !o.Keys.Signs(Public(key).PublicKey) {
		return nil, ErrUntrustedKey
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

// ErrUntrustedKey reports a secret key whose lists nobody would accept.
var ErrUntrustedKey = errors.New("the key of backup_seal_key is not in backup_seal_public_keys, or is a former one there: verify --seals would call its lists forged")

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
				o.Report(Problem{Partition: p.Name, Finding: Finding{Kind: OfList, Text: ErrEmptied.Error()}})
				err = ErrEmptied
			}
			return fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	o.note("", false, "nothing was stored there yet, so there is no list")
	return nil
}

// run makes one attempt. again means that the number was taken by something that is not genuine.
func (s *sealing) run(ctx context.Context, reported map[string]bool) (again bool, err error) {
	outside := s.follow(ctx)
	if s.chain == nil {
		return false, outside
	}
	if l, _ := s.chain.newest(); s.o.Accept > 0 && (l == nil || s.o.Accept > l.Number) {
		return false, fmt.Errorf("partition %s: %w %d", s.p.Name, ErrNoSuchList, s.o.Accept)
	}
	if err := s.checkCopy(); err != nil {
		outside = errors.Join(outside, err)
	}
	before, err := s.before(ctx)
	if err != nil {
		return false, err
	}
	if before != nil {
		defer func() { err = errors.Join(err, before.Close()) }()
	}
	s.judge = newJudge(ctx, s.p, s.o, before)
	w, err := newWriter(s.header(before, reported))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
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

// ErrNoSuchList reports that the findings of a list cannot be accepted.
var ErrNoSuchList = errors.New("there is no list")

// follow reads the lists before. If the copy outside cannot be read, the error is ErrOutside, and the bucket alone counts.
func (s *sealing) follow(ctx context.Context) error {
	next := func(outside objstore.Store) (*chain, error) {
		return followLists(ctx, s.p, s.info.ID, s.o.Keys, outside)
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
	s.o.Report(Problem{Partition: s.p.Name, Finding: Finding{Kind: OfList, Text: text}})
	return fmt.Errorf("partition %s: %w", s.p.Name, ErrNoCopy)
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
	s.chain.facts.add(finding(OfList, "the newest list cannot be read: %v", err))
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

// header describes the new list, and reports all findings about lists that nobody has accepted. before may be nil.
func (s *sealing) header(before *List, reported map[string]bool) Header {
	h := Header{Version: Version, Number: s.chain.next(), Partition: s.p.Name, Repository: s.chain.repository, Time: s.judge.now, Uncertain: s.judge.unsure != nil,
		Host: s.o.Host, Clock: s.o.Now().UTC().Round(0)}
	if l, _ := s.chain.newest(); l != nil {
		h.Previous = &l.Comment.List
	}
	if s.o.Accept > 0 {
		h.Acceptance = &Acceptance{s.o.Accept, cut(s.o.By)}
	}
	var was *Header
	if before != nil {
		was = &before.Header
	}
	l := settle(was, s.chain.facts, h.Number, s.o.Accept)
	for _, f := range l.open {
		if !reported[f.Text] {
			reported[f.Text] = true
			s.o.Report(Problem{Partition: s.p.Name, Finding: f})
		}
	}
	h.Findings, h.Accepted = l.recorded(h.Number), l.accepted
	s.done.Number, s.done.Time = h.Number, h.Time
	return h
}
