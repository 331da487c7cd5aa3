package maintenance

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The record of an erasure names the commit with its event, but the log decides. Somebody may have restored the log to an older
// state since, so that other mail has that number now. It is mail that the user wants.

// lookAround finds the messages, and others with their chunks, unless they have arrived after the event. It adds to the
// known chunks, and corrects what the record says about the event.
func (r *retainer) lookAround(ctx context.Context) (seen *around, err error) {
	for more := true; more; { // once, if the chunks and the event are known
		known := len(r.messages.chunks())
		if seen, err = r.lookOnce(ctx); err != nil {
			return nil, err
		}
		other, err := r.ownEvent(ctx, seen.own)
		if err != nil {
			return nil, err
		}
		more = other || len(r.messages.chunks()) > known
	}
	return seen, nil
}

// ownEvent compares the event that the log has, own, with the record. It reports whether the record was wrong, and has
// been corrected.
func (r *retainer) ownEvent(ctx context.Context, own history.Header) (other bool, err error) {
	commit, at, err := r.eventOf(ctx, own)
	switch {
	case err != nil || commit == r.messages.Commit && at.Equal(r.messages.At):
		return false, err
	case r.sweeps:
		return false, &EventLostError{r.messages.Commit}
	}
	return true, r.eventFound(ctx, commit, at)
}

// EventLostError reports that the log lacks the event of an erasure: it was restored to an older state since.
type EventLostError struct{ Commit uint64 }

func (e *EventLostError) Error() string {
	return fmt.Sprintf("commit %d of its log has not erased it: the log was restored to an older state since: run erase with the same messages again, or end the erasure with --cancel", e.Commit)
}

// eventOf returns the commit with the event; 0 = there is none. own is that of the log. Only if it has none, and begins
// after the commit in the record, that is believed, if each checkpoint since then shows the event.
func (r *retainer) eventOf(ctx context.Context, own history.Header) (commit uint64, at time.Time, err error) {
	if own.Number > 0 {
		return own.Number, own.Time, nil
	}
	if r.messages.Commit == 0 || r.messages.Commit >= r.have.log[0].from {
		return 0, at, nil
	}
	shown := false
	for _, c := range r.have.checkpoints {
		if c.number < r.messages.Commit {
			continue
		}
		is, ignored, err := r.showsEvent(ctx, c.number)
		if err != nil {
			return 0, at, fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		if !is && !ignored {
			return 0, at, nil
		}
		shown = shown || is
	}
	if !shown {
		return 0, at, nil
	}
	return r.messages.Commit, r.messages.At, nil
}

// showsEvent reports whether a checkpoint shows the event. Readers ignore one of another log (history.Log.Contradicts).
func (r *retainer) showsEvent(ctx context.Context, n uint64) (is, ignored bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, false, err
	}
	defer m.Close()
	if is, err = r.messages.erasedIn(m); err == nil && !is {
		ignored, err = r.log().Contradicts(ctx, m.Tip())
	}
	return is, ignored, err
}

// erasedIn reports whether a state can have the event, which is before it: it knows of erased messages, and has none of
// these that had arrived before, and is not erased.
func (m *Messages) erasedIn(st *history.Mem) (bool, error) {
	if !st.HasErased() {
		return false, nil
	}
	for _, e := range m.List {
		is, err := st.Message(e.GUID)
		if err != nil || is != nil && is.Commit <= m.Commit && is.Erased.IsZero() {
			return false, err
		}
	}
	return true, nil
}

// isOwn reports whether an event is that of the erasure.
func (m *Messages) isOwn(e *history.ErasedEvent) bool {
	return m.Erasure != "" && e.Erasure == m.Erasure
}

// EventOf returns the commit with the event of an erasure, and its time; 0 = the log has no such event. If retention has removed
// the commit, it is that of m. It changes nothing.
func EventOf(ctx context.Context, f *repository.Found, m Messages, o RetainOptions) (commit uint64, at time.Time, err error) {
	r := newRetainer(f, nil, o)
	r.messages = &m
	there, err := r.relist(ctx)
	if err != nil || !there {
		return 0, at, err
	}
	own, err := r.eventInLog(ctx)
	if err == nil {
		commit, at, err = r.eventOf(ctx, own)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	return commit, at, err
}

// eventInLog returns the first commit of the log with the event.
func (r *retainer) eventInLog(ctx context.Context) (own history.Header, err error) {
	for c, err := range r.log().Commits(ctx, r.have.log[0].from, r.have.newest) {
		if err != nil {
			return own, err
		}
		for e, err := range c.Events() {
			if err != nil {
				return own, err
			}
			if e, is := e.(*history.ErasedEvent); is && r.messages.isOwn(e) {
				return c.Header(), nil
			}
		}
	}
	return own, nil
}
