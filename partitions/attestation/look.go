package attestation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// looked is the result for a pair.
type looked struct {
	entry *Entry // nil = nothing is listed: a copy that is being made
	why   string // why something is gone
	note  string // for people
	err   error  // of this run, not of the backup
	asked error  // why the backup could not be read
}

// former is what the list before has about a backup.
type former struct {
	listed   *Entry    // its line; nil = none
	compare  *Entry    // the last state without a finding
	now      *Entry    // the state beside the findings; nil = none
	open     []Finding // that nobody has accepted
	accepted bool      // there were findings, and a person has accepted all: now is as good as compare
}

func (s *sealing) former(listed *Entry) former {
	f := former{listed: listed, compare: listed}
	if listed == nil || len(listed.Findings) == 0 {
		return f
	}
	f.open = openAfter(listed, s.o.Accept)
	f.accepted = len(f.open) == 0
	if listed.Now != nil {
		f.now = listed.with(listed.Now)
	}
	return f
}

// base is what must be there; nil = nothing.
func (f former) base() *Entry {
	if f.accepted {
		return f.now
	}
	return f.compare
}

// kept is a line that repeats the state of the list before. base is not nil.
func (f former) kept() *Entry {
	e := *f.base()
	e.New, e.Shortened, e.Unreadable, e.Gone, e.Objects = false, false, "", "", ""
	e.Findings, e.Now = f.open, nil
	if f.now != nil && !f.accepted {
		e.Now = f.now.state()
	}
	return &e
}

// look makes the entry of a backup.
func (s *sealing) look(ctx context.Context, one pair) looked {
	f := s.former(one.listed)
	if !one.there() {
		return s.lookGone(ctx, f)
	}
	version, newest := "", uint64(0)
	if s.o.TrustETags && one.err == nil {
		version, newest = one.found.ListedVersion()
	}
	if f.unchanged(version) {
		e := f.kept()
		e.Objects, e.Recent = version, s.expire(e.Recent)
		return looked{entry: e}
	}
	e, found, err := s.read(ctx, one, f)
	out := looked{entry: e}
	switch {
	case errors.Is(err, errBeginning):
		return looked{}
	case errors.Is(err, history.ErrUnfinished) && s.recentCopy(ctx, found):
		return s.copying(ctx, f, found, err)
	case err == nil:
		out.why, err = s.sinceList(ctx, e, f, found)
	}
	if ctx.Err() != nil {
		return looked{err: ctx.Err()}
	}
	if err != nil {
		return looked{entry: unreadable(one.place, e, f, err), asked: err}
	}
	if version != "" && newest == e.Number && e.Unreadable == "" && (e.MovedTo == "" || e.Confirmed) {
		e.Objects = version
	}
	return out
}

// unchanged reports whether the objects of a backup are those of the list before, which has read it.
func (f former) unchanged(version string) bool {
	l := f.listed
	return version != "" && l != nil && l.Objects == version && l.Unreadable == "" && l.Gone == "" && len(l.Findings) == 0
}

// unreadable is the entry of a backup that could not be read: what the list before has stays valid.
func unreadable(place string, e *Entry, f former, err error) *Entry {
	was := &Entry{Backup: place}
	if e != nil {
		was.ID, was.Name = e.ID, e.Name
	}
	if f.base() != nil {
		was = f.kept()
	}
	was.Unreadable = cut(err.Error())
	return was
}

// errBeginning reports a copy of a backup, or a backup, that is being made: backup.json is put last, or first.
var errBeginning = errors.New("it is being made")

// beginsWithin is how long a backup may lack backup.json, and how long a copy may take, without a report.
const beginsWithin = 48 * time.Hour

// read reads the newest commit of a backup, and the beginning of its log. Without backup.json, a backup that is not new has
// an entry, too, so that its log is not removed unnoticed.
func (s *sealing) read(ctx context.Context, one pair, was former) (*Entry, *repository.Found, error) {
	f, err := one.found, one.err
	if err == nil && !isAside(one.place) {
		f, err = one.found.ReadListed(ctx)
	}
	e := &Entry{Backup: one.place}
	if errors.Is(err, repository.ErrIncomplete) {
		if was.listed != nil {
			return e, f, err
		}
		if !s.older(ctx, f) {
			return nil, f, errBeginning
		}
		e.Unreadable, err = cut(err.Error()), nil
	}
	if err != nil {
		return e, f, err
	}
	e.ID, e.Name = cut(f.Info.ID), cut(f.Info.Name)
	return e, f, s.head(ctx, e, f, was)
}

// older reports whether the log of a backup has an object that is not new.
func (s *sealing) older(ctx context.Context, f *repository.Found) bool {
	for info, err := range f.Listed().Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err == nil && !info.Modified.IsZero() && s.judge.now.Sub(info.Modified) > beginsWithin {
			return true
		}
	}
	return false
}

// recentCopy reports whether the copy that a log waits for was begun shortly before.
func (s *sealing) recentCopy(ctx context.Context, f *repository.Found) bool {
	for info, err := range f.Listed().Partition.Store.List(ctx, history.CopyingPrefix(f.Path), "") {
		if err == nil && s.judge.now.Sub(info.Modified) < beginsWithin {
			return true
		}
	}
	return false
}

// copying makes the entry of a backup that is being copied to this partition: it has what it had before.
func (s *sealing) copying(ctx context.Context, f former, at *repository.Found, why error) looked {
	if f.base() == nil {
		return looked{}
	}
	e := f.kept()
	v, err := s.judge.entry(ctx, f.base(), at)
	switch {
	case ctx.Err() != nil:
		return looked{err: ctx.Err()}
	case err != nil:
		return looked{entry: unreadable(e.Backup, nil, f, err), asked: err}
	case v.finding != nil:
		e.record(v.finding, s.done.Number)
	}
	return looked{entry: e, note: why.Error()}
}

// head reads the newest commit.
func (s *sealing) head(ctx context.Context, e *Entry, found *repository.Found, was former) error {
	f := found.Listed()
	survey, err := f.Log().Survey(ctx)
	if err != nil {
		return err
	}
	if err := survey.Unfinished(); err != nil {
		return err
	}
	tip, h, seal, err := f.TipHeader(ctx, 0)
	if err != nil {
		return err
	}
	if tip.Number > 0 && tip.Hash == "" {
		return fmt.Errorf("commit %d cannot be read: ctl_backups verify shows why", tip.Number)
	}
	e.Number, e.Hash, e.Time = tip.Number, tip.Hash, made(h)
	e.Recent = s.recent(e, was.base())
	if seal != nil && seal.To != s.info.ID {
		e.MovedTo = seal.To
	}
	e.First, e.Lost = survey.First, holes(survey, e.Number)
	if e.First <= 1 {
		return nil
	}
	return s.base(ctx, e, f, was.base())
}

// made is the earlier time in a header: a commit was not made before (docs/format.md 3.2).
func made(h history.Header) time.Time {
	if h.Clock.Before(h.Time) && !h.Clock.IsZero() {
		return floor(h.Clock)
	}
	return floor(h.Time)
}

// base reads the state before the log, unless the list before has it and its object has not changed.
func (s *sealing) base(ctx context.Context, e *Entry, f *repository.Found, was *Entry) error {
	n := e.First - 1
	listed := was != nil && was.Base != nil && was.Base.Number == n
	info, err := f.Partition.Store.Stat(ctx, history.CheckpointKey(f.Path, n))
	if err == nil && listed && s.o.TrustETags && was.Base.ETag != "" && was.Base.ETag == info.ETag {
		e.Base = was.Base
		return nil
	}
	hash := ""
	if err == nil {
		hash, err = baseHash(ctx, f, n)
	}
	switch {
	case err == nil:
		e.Base = &Base{n, hash, info.ETag}
	case !isAbsent(err) && !history.IsUnreadable(err):
		return err
	case listed: // it stays the state that must be there; retention is removing commits, or it is damage
		e.Base = was.Base
	}
	return nil
}

// mostRecent is how many heads of former lists an entry has.
const mostRecent = 4

// recent returns heads of former lists that retention may not have removed: the oldest one, and some others.
func (s *sealing) recent(e, was *Entry) []Head {
	if was == nil {
		return nil
	}
	heads := s.expire(was.Recent)
	last := len(heads) - 1
	if one := (Head{was.Number, was.Time}); s.judge.young(one.Time) && one.Number > 0 && (last < 0 || one.Time.Sub(heads[last].Time) >= s.judge.keep/mostRecent) {
		heads = append(heads, one)
	}
	heads = slices.DeleteFunc(heads, func(h Head) bool { return h.Number >= e.Number })
	return heads[:min(len(heads), mostRecent)]
}

// expire drops heads that retention may have removed.
func (s *sealing) expire(heads []Head) (young []Head) {
	for _, h := range heads {
		if s.judge.young(h.Time) {
			young = append(young, h)
		}
	}
	return young
}

// sinceList compares the backup with the last state without a finding. If that is not there, it compares it with the state
// beside the findings, too, which a person may have accepted.
func (s *sealing) sinceList(ctx context.Context, e *Entry, f former, at *repository.Found) (why string, err error) {
	now := e.state()
	e.Findings = slices.Clone(f.open)
	e.New = f.listed == nil && (s.chain.bucket != nil || s.chain.outside != nil)
	if err := s.confirm(ctx, e, f, at); err != nil {
		return "", err
	}
	v, err := s.judge.since(ctx, f.compare, now, at)
	if err == nil && v.finding != nil && f.accepted && f.now == nil {
		v = verdict{gone: Removed} // a person has accepted the removal, so this is another backup
	}
	if err == nil && v.finding != nil && !f.accepted {
		e.record(v.finding, s.done.Number)
		e.become(f.compare)
	}
	if err == nil && v.finding != nil && f.now != nil {
		if v, err = s.judge.since(ctx, f.now, now, at); err == nil && v.finding != nil {
			e.record(v.finding, s.done.Number)
		}
		if err == nil && v.finding != nil && f.accepted {
			e.become(f.now)
		}
	}
	if len(e.Findings) > 0 {
		e.Now = now
	}
	e.Shortened, e.New = v.shortened, e.New || v.gone != ""
	return v.why, err
}

// confirm compares the log with that of the partition where it has moved, unless a list has done so, or a person has accepted
// the difference.
func (s *sealing) confirm(ctx context.Context, e *Entry, f former, at *repository.Found) error {
	if e.MovedTo == "" {
		return nil
	}
	same := func(was *Entry) bool { return was != nil && was.Number == e.Number && was.Hash == e.Hash }
	if same(f.listed) && f.listed.Confirmed || f.accepted && same(f.now) {
		e.Confirmed = true
		return nil
	}
	confirmed, one, err := s.judge.continued(ctx, e, at)
	if e.Confirmed = confirmed; one != nil {
		e.record(one, s.done.Number)
	}
	return err
}

// since compares a backup with an entry, which may be nil, unless the entry has the same state.
func (j *judge) since(ctx context.Context, was *Entry, now *State, at *repository.Found) (verdict, error) {
	if was == nil || was.matches(now) {
		return verdict{}, nil
	}
	return j.entry(ctx, was, at)
}

// become takes over the state of another entry.
func (e *Entry) become(was *Entry) {
	e.ID, e.Number, e.Hash, e.Time, e.First = was.ID, was.Number, was.Hash, was.Time, was.First
	e.Base, e.Lost, e.MovedTo, e.Recent = was.Base, was.Lost, was.MovedTo, was.Recent
}

// matches reports whether a state has all of an entry.
func (e *Entry) matches(s *State) bool {
	return e.Number == s.Number && e.Hash == s.Hash && e.First == s.First && sameState(e.Base, s.Base) && slices.Equal(e.Lost, s.Lost)
}

// sameState reports whether two bases, which can be nil, are the same state.
func sameState(a, b *Base) bool {
	return a == nil || b != nil && a.Number == b.Number && a.Hash == b.Hash
}

// lookGone makes the entry of a backup that is not there any more.
func (s *sealing) lookGone(ctx context.Context, f former) looked {
	if f.listed.Gone != "" {
		if len(f.open) == 0 {
			return looked{}
		}
		e := *f.listed
		return looked{entry: &e}
	}
	if f.base() == nil {
		return looked{}
	}
	e := f.kept()
	e.Now = nil
	v, err := s.judge.entry(ctx, f.base(), nil)
	switch {
	case ctx.Err() != nil:
		return looked{err: ctx.Err()}
	case err != nil:
		return looked{entry: unreadable(e.Backup, nil, f, err), asked: err}
	case v.finding != nil:
		e.record(v.finding, s.done.Number)
	case v.gone == "":
		return looked{entry: e} // it is there again
	}
	if e.Gone = v.gone; e.Gone == "" {
		e.Gone = Removed
	}
	return looked{entry: e, why: v.why}
}

// use writes an entry, and reports it.
func (s *sealing) use(w *writer, out looked) error {
	if out.err != nil {
		return out.err
	}
	if err := s.trial.count(s.p, out.asked); err != nil || out.entry == nil {
		return err
	}
	e := out.entry
	if !s.again { // the attempt before has reported it
		s.tell(e, out)
	}
	if e.New {
		s.done.New++
	}
	if e.Shortened {
		s.done.Shortened++
	}
	return w.add(e)
}

// tell reports an entry.
func (s *sealing) tell(e *Entry, out looked) {
	problem := Problem{Partition: s.p.Name, Backup: e.Backup, Name: e.Name}
	for _, f := range e.Findings {
		problem.Finding = f
		s.o.Report(problem)
	}
	if e.Unreadable != "" {
		problem.Finding, problem.Outage = Finding{Kind: Unreadable, Text: e.Unreadable}, failedRequest(out.asked)
		s.o.Report(problem)
	}
	s.o.note(e.Backup, e.Gone != "", out.why)
	s.o.note(e.Backup, false, out.note)
}
