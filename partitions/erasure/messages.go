package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// MessageSurvey shows what EraseMessages would remove.
type MessageSurvey struct {
	Found    *repository.Found
	GUIDs    []cyrus.GUID
	Held     error
	Messages []maintenance.FoundMessage
	// Interrupted is the record of an earlier run for the same messages, or nil.
	Interrupted *repository.Erasure
	// ListLost means that its list of packs is lost. Then every pack of the partition is rewritten.
	ListLost bool
	// Recorded means that the log has the event of the earlier run. Messages that have arrived again since stay.
	Recorded bool

	parts []repository.Config
}

// ErrNoMessage reports a message that no moment of the backup has.
var ErrNoMessage = errors.New("no moment of the backup has a message with this GUID")

// LookAtMessages finds messages in a backup. It returns ErrCopies if there is more than the backup in use, and
// ErrNoMessage if one of them is not there.
func LookAtMessages(ctx context.Context, parts []repository.Config, n repository.Name, guids []cyrus.GUID, o maintenance.RetainOptions) (*MessageSurvey, error) {
	o.Lock.SetDefaults()
	c, err := onlyCopy(ctx, parts, n, o.Lock.Now)
	if err != nil {
		return nil, err
	}
	s := &MessageSurvey{parts: parts, Found: c.Found, Held: c.Held, GUIDs: guids}
	if err := noOtherPart(ctx, s.Found, guids); err != nil {
		return nil, err
	}
	r, err := interrupted(ctx, s.Found, true, o.Lock)
	if err != nil {
		return nil, err
	}
	if r != nil {
		s.Interrupted = r.Erasure
		if s.ListLost, err = lostList(ctx, s.Found.Partition, r); err != nil {
			return nil, err
		}
	}
	s.Messages, err = maintenance.FindMessages(ctx, s.Found, guids, o)
	if r != nil && r.State == repository.ErasureRemoving && history.IsUnreadable(err) {
		return s, nil // EraseMessages notes the failure in the record, so that a person can end the erasure
	}
	if err != nil {
		return nil, err
	}
	if r != nil {
		s.addRecorded(r.Messages)
		n, _, err := eventOf(ctx, r.Erasure, s.Found, o.Lock)
		if s.Recorded = n > 0; err != nil {
			return nil, err
		}
	}
	for _, g := range guids {
		if !slices.ContainsFunc(s.Messages, func(m maintenance.FoundMessage) bool { return m.GUID == g }) {
			return nil, fmt.Errorf("%s: %w", g, ErrNoMessage)
		}
	}
	return s, nil
}

// addRecorded adds the messages of an interrupted run that no moment has any more: retention goes on meanwhile.
func (s *MessageSurvey) addRecorded(list []repository.ErasedMessage) {
	for _, e := range list {
		if !slices.ContainsFunc(s.Messages, func(m maintenance.FoundMessage) bool { return m.GUID == e.GUID }) {
			s.Messages = append(s.Messages, maintenance.FoundMessage{ErasedMessage: e})
		}
	}
}

// withFormer is addRecorded for the list of another record.
func withFormer(list, former []repository.ErasedMessage) []repository.ErasedMessage {
	for _, e := range former {
		if !slices.ContainsFunc(list, func(m repository.ErasedMessage) bool { return m.GUID == e.GUID }) {
			e.Whole = false
			list = append(list, e)
		}
	}
	return list
}

// EraseMessages removes the bodies of messages from every moment of a backup, whatever retention keeps. Their records
// stay. An interrupted run for the same messages continues. When EraseMessages returns nil, nobody can restore the
// bodies, and SweepHistory and a collection remove the rest of them later.
func EraseMessages(ctx context.Context, s *MessageSurvey, o HistoryOptions) (*Done, error) {
	if s.Held != nil {
		return nil, s.Held
	}
	o.Forget.Lock.SetDefaults()
	j := &historyJob{HistoryOptions: o, f: s.Found, parts: s.parts, messages: s.GUIDs}
	err := j.leased(ctx, j.run)
	if err == nil && len(j.whole) > 0 {
		err = &SharedError{j.whole}
	}
	if err != nil {
		err = fmt.Errorf("partition %s: %w", s.Found.Partition.Name, err)
	}
	return j.done, err
}

func (j *historyJob) ofMessages() bool { return j.messages != nil }

// noOtherPart returns an error if another part of the backup is being erased. messages are those of the present run; nil
// = it erases history.
func noOtherPart(ctx context.Context, f *repository.Found, messages []cyrus.GUID) error {
	for e, err := range repository.Erasures(ctx, f.Partition, time.Time{}) {
		switch {
		case err != nil && (e == nil || repository.IsStoreError(err)):
			return err
		case err != nil || e.State == repository.ErasureDone || !e.Cancelled.IsZero() || !e.MayConcern(f):
			continue // compact reports a record that is unreadable
		case messages == nil && !e.OfMessages(), messages != nil && e.IsAbout(messages):
			continue
		}
		return fmt.Errorf("its erasure with %s is not complete: run that again (or end it with --cancel), or compact -A, before another part is erased", PartOption(e))
	}
	return nil
}

// beginMessages puts the record, or continues with that of an interrupted run.
func (j *historyJob) beginMessages(ctx context.Context) error {
	r, err := interrupted(ctx, j.f, true, j.Forget.Lock)
	if err != nil {
		return err
	}
	former := j.r // that was continued before
	if j.r = r; r != nil {
		r.IDs = []string{j.f.Info.ID}
		return nil
	}
	found, err := maintenance.FindMessages(ctx, j.f, j.messages, j.Forget.RetainOptions)
	if err != nil {
		return err
	}
	var list []repository.ErasedMessage
	for _, m := range found {
		list = append(list, m.ErasedMessage)
	}
	if former != nil {
		list = withFormer(list, former.Messages)
	}
	if len(list) < len(j.messages) {
		return ErrNoMessage
	}
	now, err := now(ctx, j.f.Partition, j.Forget.Lock.Now)
	if err != nil {
		return err
	}
	j.r = &record{Erasure: repository.NewErasureOfMessages(repository.NewID(), j.f.Name(), list)}
	j.r.Since, j.r.IDs, j.r.By, j.r.Reason = now.UTC(), []string{j.f.Info.ID}, j.By, j.Reason
	return j.put(ctx)
}

// eraseMessages erases what the record is about.
func (j *historyJob) eraseMessages(ctx context.Context, o maintenance.ForgetOptions) error {
	o.Messages = &maintenance.Messages{Erasure: j.r.ID, List: j.r.Messages, Commit: j.r.Commit, At: j.r.Erased}
	o.Messages.Recorded = func(ctx context.Context, commit uint64, at time.Time) error {
		j.r.Commit, j.r.Erased = commit, at.UTC()
		return j.put(ctx)
	}
	o.Cutting = func(ctx context.Context) error {
		j.r.Messages = o.Messages.List // with chunks that were found since
		if err := j.name(ctx); err != nil {
			return err
		}
		if err := j.removing(ctx); err != nil { // from now on, no collection misses the backup because of its new backup.json
			return err
		}
		return j.f.MarkErased(ctx)
	}
	removed, err := maintenance.EraseMessages(ctx, j.f, j.backup, o)
	j.r.Objects += int64(removed.Objects())
	j.r.Bytes += removed.Bytes()
	var live *maintenance.LiveError
	if refused := errors.As(err, &live) || errors.Is(err, maintenance.ErrShared); refused && j.r.Commit == 0 { // by mail that has arrived, and nothing was removed
		j.r.State = repository.ErasureBegun
		return errors.Join(err, j.put(ctx))
	}
	if err != nil {
		return err
	}
	j.r.surveyed(o.Messages)
	j.whole = o.Messages.Whole
	return j.end(ctx)
}

// surveyed notes what stays of the messages. A Sweep may find less than the run did: retention has dropped other messages.
func (r *record) surveyed(m *maintenance.Messages) {
	r.Messages, r.Shared = m.List, int64(m.Shared)
	for i, e := range r.Messages {
		r.Messages[i].Whole = slices.Contains(m.Whole, e.GUID)
	}
}

// SharedError reports messages that can be restored after their erasure, because other messages have all of their parts,
// and have arrived while it began.
type SharedError struct{ GUIDs []cyrus.GUID }

func (e *SharedError) Error() string {
	return fmt.Sprintf("message %s: messages that have arrived meanwhile have every part of it, so that earlier moments still have it: when this erasure is complete, erase them and it again", e.GUIDs[0])
}
