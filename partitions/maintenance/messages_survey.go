package maintenance

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// redaction is what a run knows about the erased messages.
type redaction struct {
	chunks map[history.ChunkID]bool // whose places are replaced in commits before the event
	later  map[cyrus.GUID]bool      // messages with such a chunk that have arrived after the event
	large  map[uint64]bool          // large commits that have to be merged
}

// surveyMessages finds the chunks of the messages whose places go. A chunk that another message has, too, stays. It returns
// an error if nothing of a message would go.
func (r *retainer) surveyMessages(ctx context.Context) error {
	if err := r.soundLog(ctx); err != nil {
		return err
	}
	if err := r.chunksOfMessages(ctx); err != nil {
		return err
	}
	of := map[history.ChunkID]bool{}
	for _, m := range r.messages.List {
		for _, c := range m.Chunks {
			of[c] = true
		}
	}
	sharing, later, err := r.sharing(ctx, of)
	if err != nil {
		return err
	}
	for _, chunks := range sharing {
		for _, c := range chunks {
			delete(of, c)
		}
	}
	r.redact = redaction{chunks: of, later: later, large: map[uint64]bool{}}
	if r.messages.Commit > 0 {
		return nil
	}
	for _, m := range r.messages.List {
		if len(m.Chunks) > 0 && !slices.ContainsFunc(m.Chunks, func(c history.ChunkID) bool { return of[c] }) {
			return fmt.Errorf("message %s: every part of it is a part of other messages, too: erase these as well", m.GUID)
		}
	}
	return nil
}

// chunksOfMessages adds the chunks that the backup shows to those that are known.
func (r *retainer) chunksOfMessages(ctx context.Context) error {
	found := map[cyrus.GUID]*FoundMessage{}
	for _, m := range r.messages.List {
		found[m.GUID] = &FoundMessage{ErasedMessage: m}
	}
	err := r.eachMessage(ctx, func(m *history.Message, _ uint64) {
		if f := found[m.GUID]; f != nil {
			f.add(m)
		}
	})
	for i, m := range r.messages.List {
		r.messages.List[i].Chunks = found[m.GUID].Chunks
	}
	return err
}

// sharing returns the other messages that have one of these chunks, with all of their chunks, and all messages that have
// one and have arrived after the event. Of the former, it leaves out messages that no moment can restore, because
// they were erased before.
func (r *retainer) sharing(ctx context.Context, of map[history.ChunkID]bool) (others map[cyrus.GUID][]history.ChunkID, later map[cyrus.GUID]bool, err error) {
	want := r.messages.guids()
	others, later = map[cyrus.GUID][]history.ChunkID{}, map[cyrus.GUID]bool{}
	err = r.eachMessage(ctx, func(m *history.Message, commit uint64) {
		switch {
		case !slices.ContainsFunc(m.Chunks, func(c history.ChunkID) bool { return of[c] }):
		case r.messages.Commit > 0 && commit > r.messages.Commit:
			later[m.GUID] = true
		case !want[m.GUID]:
			for _, c := range m.Chunks {
				if !slices.Contains(others[m.GUID], c) {
					others[m.GUID] = append(others[m.GUID], c)
				}
			}
		}
	})
	if err != nil || len(others) == 0 {
		return others, later, err
	}
	return others, later, r.dropErased(ctx, others)
}

// dropErased removes the messages from a map that have a chunk which was erased, and has no place any more.
func (r *retainer) dropErased(ctx context.Context, of map[cyrus.GUID][]history.ChunkID) error {
	at := map[history.ChunkID]*chunkState{}
	for _, chunks := range of {
		for _, c := range chunks {
			at[c] = new(chunkState)
		}
	}
	if err := r.placesOf(ctx, at); err != nil {
		return err
	}
	for g, chunks := range of {
		if slices.ContainsFunc(chunks, func(c history.ChunkID) bool { return !at[c].there && !at[c].erased.IsZero() }) {
			delete(of, g)
		}
	}
	return nil
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

// stayIn returns the chunks whose places stay in a checkpoint: those of messages that have arrived after the event, and
// before the checkpoint.
func (r *retainer) stayIn(m *history.Mem) (map[history.ChunkID]bool, error) {
	stay := map[history.ChunkID]bool{}
	for g := range r.redact.later {
		st, err := m.Message(g)
		if err != nil {
			return nil, err
		}
		if st != nil && !st.Missing && st.Commit > r.messages.Commit {
			for _, c := range st.Chunks {
				stay[c] = true
			}
		}
	}
	return stay, nil
}
