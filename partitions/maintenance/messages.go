package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Messages are messages whose bodies are erased from a backup. Their records, and the events that name them, stay: they
// are in the chain of hashes. Their places are replaced, so that no moment has the bodies any more.
type Messages struct {
	Erasure string // the id of the record of the erasure
	List    []repository.ErasedMessage
	// Commit has the event that makes them missing, and At is its time; zero = the record shows none. What arrives after
	// it is not a part of the erasure.
	Commit uint64
	At     time.Time
	// Recorded is called after the event was put, or found, and before anything is removed; and with zero values if the
	// log lacks the event at Commit.
	Recorded func(ctx context.Context, commit uint64, at time.Time) error
	// Shared is set to the number of chunks that stay, because other messages of the backup have them, and Whole to the
	// messages that can be restored for this reason: others have all of their chunks, and have arrived shortly before
	// the event.
	Shared int
	Whole  []cyrus.GUID
}

// guids returns the messages as a set.
func (m *Messages) guids() map[cyrus.GUID]bool {
	out := map[cyrus.GUID]bool{}
	for _, e := range m.List {
		out[e.GUID] = true
	}
	return out
}

// EraseMessages removes the bodies of o.Messages from every moment of a backup, as far as the backup itself is concerned:
// packs are for collection. u is the upkeep of the backup, which the caller has begun. After an interruption at any point,
// it can be called again. Sweep removes the rest later.
//
// The order, each step durable before the next: the event, after which no state has the messages; the merge of the
// commits with the bodies, without them; the segments, and then the checkpoints, with other places.
//
// Nothing is removed that a message needs which has arrived meanwhile. The event is the border: no commit can get a number
// before it any more, so the survey after it is complete, and shows which chunks other messages have. What arrives
// later names its own places, in other commits and checkpoints: commits after the event do not change, and each
// checkpoint shows itself which messages it has that are newer (staying).
func EraseMessages(ctx context.Context, f *repository.Found, u *repository.Upkeep, o ForgetOptions) (RetainResult, error) {
	r := newForgetter(f, u, o)
	held, end := during(ctx, u)
	defer end()
	if err := r.runMessages(held, o); err != nil {
		return r.done, fmt.Errorf("%s: %w", f.Name(), r.explained(held, err))
	}
	return r.done, nil
}

func (r *retainer) runMessages(ctx context.Context, o ForgetOptions) (err error) {
	if r.f.Aside != "" {
		return fmt.Errorf("%s: %w", r.f.Aside, repository.ErrAside)
	}
	if r.now, err = r.storeNow(ctx); err != nil {
		return err
	}
	if r.o.Before != nil {
		if err := r.o.Before(ctx, r.f); err != nil {
			return err
		}
	}
	if err := r.surveyMessages(ctx); err != nil {
		return err
	}
	if err := r.announce(ctx); err != nil {
		return err
	}
	if err := r.mergeMessages(ctx, o.Merge); err != nil {
		return err
	}
	if err := r.redactAll(ctx); err != nil {
		return err
	}
	if err := r.findStale(ctx); err != nil {
		return err
	}
	_, err = r.rehouse(ctx)
	return err
}

// announce puts the event, unless an earlier run has, and surveys again, because more may have arrived before it. It
// returns an error, and changes nothing, if a message cannot be erased.
func (r *retainer) announce(ctx context.Context) error {
	if r.messages.Commit > 0 {
		return r.beginCutting(ctx)
	}
	if _, _, err := r.events(ctx); err != nil { // the user has a message
		return err
	}
	left, err := r.inlineMessages(ctx)
	if err == nil && left != nil && !left.at.IsZero() {
		err = left
	}
	if err == nil {
		err = r.beginCutting(ctx)
	}
	if err != nil {
		return err
	}
	if err := r.recordMessages(ctx); err != nil {
		return err
	}
	return r.surveyMessages(ctx)
}

// recordMessages puts the event.
func (r *retainer) recordMessages(ctx context.Context) error {
	recorded, err := r.record(ctx)
	if err != nil {
		return err
	}
	if !recorded {
		return errors.New("no event was put")
	}
	return r.eventFound(ctx, r.done.Commit, r.recordedAt)
}

// eventFound notes the commit with the event; 0 = there is none.
func (r *retainer) eventFound(ctx context.Context, commit uint64, at time.Time) error {
	r.messages.Commit, r.messages.At = commit, at
	return r.messages.Recorded(ctx, commit, at)
}

// mergeMessages merges the commits that have the bodies inline, without them.
func (r *retainer) mergeMessages(ctx context.Context, o MergeOptions) error {
	if _, err := r.inlineMessages(ctx); err != nil { // finds the large ones
		return err
	}
	o.Relist = true
	o.Large = func(n uint64) bool { return r.redact.large[n] }
	o.Erased = r.erasedPlace
	m := NewMerger(r.f.Partition, o)
	job := m.Add(ctx, r.f, r.upkeep)
	return errors.Join(m.Flush(ctx), job.Err)
}

// LiveError reports a message that the mail server still has: it would send it again.
type LiveError struct {
	GUID      cyrus.GUID
	Mailboxes []string
}

func (e *LiveError) Error() string {
	return fmt.Sprintf("message %s: the user still has it, in %s: delete it on the mail server, wait until that is in the backup, and run erase again", e.GUID, strings.Join(e.Mailboxes, ", "))
}

// erasedEvents returns the events about the messages. It returns a LiveError if the state has one of them in a live
// record: no later commit than this state can be before the events.
func (r *retainer) erasedEvents(st *history.Mem) (events []history.Event, err error) {
	live, err := liveIn(st, r.messages.guids())
	if err != nil {
		return nil, err
	}
	var list []cyrus.GUID
	for _, m := range r.messages.List {
		if in := live[m.GUID]; len(in) > 0 {
			return nil, &LiveError{m.GUID, in}
		}
		list = append(list, m.GUID)
	}
	for some := range slices.Chunk(list, history.MaxMessagesPerEvent) {
		events = append(events, &history.ErasedEvent{Erasure: r.messages.Erasure, Messages: some})
	}
	return events, nil
}

// liveIn returns the mailboxes with live records of messages.
func liveIn(st *history.Mem, of map[cyrus.GUID]bool) (map[cyrus.GUID][]string, error) {
	out := map[cyrus.GUID][]string{}
	for box, err := range st.Mailboxes() {
		if err != nil {
			return nil, err
		}
		if !box.Deleted.IsZero() || box.Live == 0 {
			continue
		}
		for rec, err := range st.Records(box.UniqueID, 0) {
			if err != nil {
				return nil, err
			}
			if of[rec.GUID] && rec.Expunged == 0 && !slices.Contains(out[rec.GUID], box.Name) {
				out[rec.GUID] = append(out[rec.GUID], box.Name)
			}
		}
	}
	return out, nil
}
