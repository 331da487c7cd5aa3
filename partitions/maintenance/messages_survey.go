package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ErrShared reports a message that could be restored after its erasure.
var ErrShared = errors.New("every part of it is a part of other messages, too")

// redaction is what a run knows about the erased messages.
type redaction struct {
	chunks map[history.ChunkID]bool // whose places are replaced in commits before the event
	large  map[uint64]bool          // large commits that have to be merged
}

// surveyMessages finds the chunks of the messages whose places are replaced. A chunk that another message has, too, stays.
// Before the event, it returns an error if nothing of a message would be removed. It finds the event of an
// interrupted run that has not got into the record.
func (r *retainer) surveyMessages(ctx context.Context) error {
	if err := r.soundLog(ctx); err != nil {
		return err
	}
	seen, err := r.lookAround(ctx)
	if err == nil {
		err = r.leaveErased(ctx, seen)
	}
	if err != nil {
		return err
	}
	of := r.messages.chunks()
	all := len(of)
	for c := range seen.shared() {
		delete(of, c)
	}
	r.redact = redaction{chunks: of, large: map[uint64]bool{}}
	r.messages.Shared, r.messages.Whole = all-len(of), nil
	for _, m := range r.messages.List {
		if len(m.Chunks) == 0 || slices.ContainsFunc(m.Chunks, func(c history.ChunkID) bool { return of[c] }) {
			continue
		}
		if r.messages.Commit == 0 {
			return fmt.Errorf("message %s: %w: erase these as well", m.GUID, ErrShared)
		}
		r.messages.Whole = append(r.messages.Whole, m.GUID)
	}
	return nil
}

// chunks returns all chunks of the messages.
func (m *Messages) chunks() map[history.ChunkID]bool {
	of := map[history.ChunkID]bool{}
	for _, e := range m.List {
		for _, c := range e.Chunks {
			of[c] = true
		}
	}
	return of
}

// around is what a backup shows about messages.
type around struct {
	want   map[cyrus.GUID]*FoundMessage // the messages
	others map[cyrus.GUID]*FoundMessage // other messages that have a chunk of them
	own    history.Header               // of the commit with the event
}

// shared returns the chunks of the others.
func (a *around) shared() map[history.ChunkID]bool {
	of := map[history.ChunkID]bool{}
	for _, f := range a.others {
		for _, c := range f.Chunks {
			of[c] = true
		}
	}
	return of
}

// lookOnce reads the backup once.
func (r *retainer) lookOnce(ctx context.Context) (*around, error) {
	of, seen := r.messages.chunks(), &around{want: map[cyrus.GUID]*FoundMessage{}, others: map[cyrus.GUID]*FoundMessage{}}
	for _, m := range r.messages.List {
		seen.want[m.GUID] = &FoundMessage{ErasedMessage: m}
	}
	err := r.eachMessage(ctx, func(m *history.MessageState) {
		switch f := seen.want[m.GUID]; {
		case r.messages.Commit > 0 && m.Commit > r.messages.Commit:
		case f != nil:
			f.add(&m.Message)
		case slices.ContainsFunc(m.Chunks, func(c history.ChunkID) bool { return of[c] }):
			if seen.others[m.GUID] == nil {
				seen.others[m.GUID] = &FoundMessage{ErasedMessage: repository.ErasedMessage{GUID: m.GUID}}
			}
			seen.others[m.GUID].add(&m.Message)
		}
	}, func(h history.Header, e *history.ErasedEvent) {
		if r.messages.isOwn(e) && seen.own.Number == 0 {
			seen.own = h
		}
	})
	for i, m := range r.messages.List {
		r.messages.List[i].Chunks = seen.want[m.GUID].Chunks
	}
	return seen, err
}

// leaveErased removes others that no moment can restore, because they were erased before: each way to cut them into chunks
// has one that was erased, and has no place any more.
func (r *retainer) leaveErased(ctx context.Context, seen *around) error {
	if len(seen.others) == 0 {
		return nil
	}
	at := chunkStates{}
	at.add(seen.others)
	if err := r.placesOf(ctx, at); err != nil {
		return err
	}
	seen.leaveErased(at)
	return nil
}

func (a *around) leaveErased(at chunkStates) {
	for g, f := range a.others {
		f.cuts = slices.DeleteFunc(f.cuts, at.erased)
		if len(f.cuts) == 0 {
			delete(a.others, g)
		}
		f.Chunks = slices.Concat(f.cuts...)
	}
}

// erases reports whether a place of a commit before the event has to be replaced.
func (r *retainer) erases(p history.Place) bool { return !p.Erased() && r.redact.chunks[p.Chunk] }

// erasedPlace returns the place of a chunk that was erased, if commit n names it.
func (r *retainer) erasedPlace(n uint64, c history.ChunkID) (history.Place, bool) {
	if n >= r.messages.Commit || !r.redact.chunks[c] {
		return history.Place{}, false
	}
	return history.ErasedPlace(c, r.messages.At), true
}

// staying returns the chunks whose places stay in a checkpoint: those of messages that have arrived after the event, and
// before the checkpoint.
func (r *retainer) staying(m *history.Mem) (map[history.ChunkID]bool, error) {
	if m.Tip().Number <= r.messages.Commit {
		return nil, nil
	}
	newer := map[cyrus.GUID][]history.ChunkID{}
	for s, err := range m.Messages() {
		if err != nil {
			return nil, err
		}
		delete(newer, s.GUID) // the last one is valid
		if s.Commit > r.messages.Commit && slices.ContainsFunc(s.Chunks, func(c history.ChunkID) bool { return r.redact.chunks[c] }) {
			newer[s.GUID] = s.Chunks
		}
	}
	stay := map[history.ChunkID]bool{}
	for _, chunks := range newer {
		for _, c := range chunks {
			stay[c] = true
		}
	}
	return stay, nil
}
