package attestation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// looked is the result for a pair.
type looked struct {
	entry *Entry // nil = nothing is listed: a copy that is being made
	why   string // why something is gone
	err   error  // of this run, not of the backup
}

// look makes the entry of a backup.
func (s *sealing) look(ctx context.Context, one pair) looked {
	if !one.there() {
		return s.lookGone(ctx, one.listed)
	}
	if errors.Is(one.err, repository.ErrIncomplete) && one.listed == nil {
		return looked{} // a move, an import or an export puts backup.json last
	}
	e := &Entry{Backup: one.place}
	if one.found != nil {
		e.ID, e.Name = cut(one.found.Info.ID), cut(one.found.Info.Name)
	}
	err := one.err
	if err == nil {
		err = s.head(ctx, e, one)
	}
	out := looked{entry: e}
	if err == nil {
		out.why, err = s.sinceList(ctx, e, one)
	}
	if ctx.Err() != nil {
		return looked{err: ctx.Err()}
	}
	if err != nil {
		out.entry = unreadable(e, one.listed, err)
	}
	return out
}

// unreadable is the entry of a backup that could not be read: what the list before has stays valid.
func unreadable(e, listed *Entry, err error) *Entry {
	was := Entry{Backup: e.Backup, ID: e.ID, Name: e.Name}
	if listed != nil {
		was = *listed
		was.New, was.Shortened, was.Finding = false, false, nil
	}
	was.Unreadable = cut(err.Error())
	return &was
}

// head reads the newest commit.
func (s *sealing) head(ctx context.Context, e *Entry, one pair) error {
	f := one.found.Listed()
	tip, seal, err := f.Tip(ctx, 0)
	if err != nil {
		return err
	}
	if tip.Number > 0 && tip.Hash == "" {
		return fmt.Errorf("commit %d cannot be read: ctl_backups verify shows why", tip.Number)
	}
	e.Number, e.Hash, e.Time = tip.Number, tip.Hash, tip.Time.UTC()
	e.Recent = s.recent(e, one.listed)
	if seal != nil && seal.To != s.info.ID {
		e.MovedTo = seal.To
	}
	survey, err := f.Log().Survey(ctx)
	if err != nil {
		return err
	}
	e.First = survey.First
	if e.First <= 1 {
		return nil
	}
	return s.base(ctx, e, f, one.listed)
}

// base reads the state before the log, unless the list before has it and its object has not changed.
func (s *sealing) base(ctx context.Context, e *Entry, f *repository.Found, was *Entry) error {
	n := e.First - 1
	info, err := f.Partition.Store.Stat(ctx, history.CheckpointKey(f.Path, n))
	if listed, ok := f.ListedObject(history.CheckpointKey(f.Path, n)); ok {
		info, err = listed, nil
	}
	if isAbsent(err) {
		return nil // retention is removing commits, or verify reports the damage
	}
	if err != nil {
		return err
	}
	if was != nil && was.Base != nil && was.Base.Number == n && was.Base.ETag != "" && was.Base.ETag == info.ETag {
		e.Base = was.Base
		return nil
	}
	hash, err := baseHash(ctx, f, n)
	if err == nil {
		e.Base = &Base{n, hash, info.ETag}
	}
	if history.IsUnreadable(err) || isAbsent(err) {
		err = nil
	}
	return err
}

// recent returns the heads of the lists of the last 48 hours, from which the log has grown since.
func (s *sealing) recent(e, was *Entry) (recent []Head) {
	const most = 3
	if was == nil || was.Unreadable != "" {
		return nil
	}
	for _, h := range append(slices.Clone(was.Recent), Head{s.judge.at, was.Number, was.Time}) {
		if s.judge.now.Sub(h.List) < MinAge && h.Number > 0 && h.Number < e.Number {
			recent = append(recent, h)
		}
	}
	return recent[max(0, len(recent)-most):]
}

// sinceList compares the backup with its entry in the list before.
func (s *sealing) sinceList(ctx context.Context, e *Entry, one pair) (why string, err error) {
	was := one.listed
	if was == nil {
		e.New = s.chain.bucket != nil || s.chain.outside != nil
		return "", nil
	}
	if was.Number == e.Number && was.Hash == e.Hash && was.First == e.First && sameState(was.Base, e.Base) {
		return "", nil
	}
	v, err := s.judge.entry(ctx, was, one.found)
	if err != nil {
		return "", err
	}
	e.Finding, e.Shortened, e.New = v.finding, v.shortened, v.gone != ""
	return v.why, nil
}

// sameState reports whether two bases, which can be nil, are the same state.
func sameState(a, b *Base) bool {
	return a == nil || b != nil && a.Number == b.Number && a.Hash == b.Hash
}

// lookGone makes the entry of a backup that is not there any more.
func (s *sealing) lookGone(ctx context.Context, was *Entry) looked {
	e := *was
	e.New, e.Shortened, e.Finding, e.Unreadable = false, false, nil, ""
	v, err := s.judge.entry(ctx, was, nil)
	switch {
	case ctx.Err() != nil:
		return looked{err: ctx.Err()}
	case err != nil:
		return looked{entry: unreadable(&e, was, err)}
	case v.gone == "" && v.finding == nil:
		return looked{entry: &e} // it is there again
	}
	e.Gone, e.Finding = v.gone, v.finding
	if e.Gone == "" {
		e.Gone = Removed
	}
	return looked{entry: &e, why: v.why}
}

// use writes an entry, and reports it.
func (s *sealing) use(w *writer, out looked) error {
	if out.err != nil || out.entry == nil {
		return out.err
	}
	e := out.entry
	switch {
	case s.again: // reported by the attempt before
	case e.Finding != nil:
		s.o.Report(Problem{Partition: s.p.Name, Backup: e.Backup, Name: e.Name, Finding: *e.Finding})
	case e.Unreadable != "":
		s.o.Report(Problem{Partition: s.p.Name, Backup: e.Backup, Name: e.Name, Finding: Finding{Unreadable, e.Unreadable}})
	case out.why != "" && s.o.Note != nil:
		s.o.Note(e.Backup, out.why)
	}
	if e.New {
		s.done.New++
	}
	if e.Shortened {
		s.done.Shortened++
	}
	return w.add(e)
}
