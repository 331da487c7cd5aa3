package maintenance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// FoundMessage is what a backup has of a message, at any moment that it can restore.
type FoundMessage struct {
	repository.ErasedMessage
	Size int64
	Live []string // mailboxes with a live record of it now
	// Held means that a moment has its body. Otherwise Erased is when it was erased; zero = it never had one, or nothing
	// shows that any more.
	Held   bool
	Erased time.Time

	cuts [][]history.ChunkID // how it was cut into chunks, each way once
}

// FindMessages finds messages in the log and in every checkpoint of a backup. A message that it does not find is not in
// the result. It changes nothing.
func FindMessages(ctx context.Context, f *repository.Found, guids []cyrus.GUID, o RetainOptions) (found []FoundMessage, err error) {
	o.Lock.SetDefaults()
	r := newRetainer(f, nil, o)
	r.now = o.Lock.Now() // nothing is removed, so the time of the store does not matter
	if err := r.soundLog(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	by := map[cyrus.GUID]*FoundMessage{}
	want := map[cyrus.GUID]bool{}
	for _, g := range guids {
		want[g] = true
	}
	err = r.eachMessage(ctx, func(m *history.Message, _ uint64) {
		if !want[m.GUID] {
			return
		}
		if by[m.GUID] == nil {
			by[m.GUID] = &FoundMessage{ErasedMessage: repository.ErasedMessage{GUID: m.GUID, Chunks: []history.ChunkID{}}}
		}
		by[m.GUID].add(m)
	})
	if err != nil {
		return nil, err
	}
	if err := r.holdBodies(ctx, by); err != nil {
		return nil, err
	}
	m, err := f.Load(ctx, history.Moment{Now: r.now})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	live, err := liveIn(m, want)
	if err != nil {
		return nil, err
	}
	for _, g := range guids {
		is := by[g]
		if is == nil || slices.ContainsFunc(found, func(x FoundMessage) bool { return x.GUID == g }) {
			continue
		}
		is.Live = live[g]
		st, err := m.Message(g)
		if err != nil {
			return nil, err
		}
		if st != nil && !st.Erased.IsZero() {
			is.Erased = st.Erased
		}
		found = append(found, *is)
	}
	return found, nil
}

// holdBodies finds out which messages have a place of each of their chunks.
func (r *retainer) holdBodies(ctx context.Context, by map[cyrus.GUID]*FoundMessage) error {
	at := map[history.ChunkID]*chunkState{}
	for _, m := range by {
		for _, c := range m.Chunks {
			at[c] = new(chunkState)
		}
	}
	if err := r.placesOf(ctx, at); err != nil {
		return err
	}
	for _, m := range by {
		m.Held = slices.ContainsFunc(m.cuts, func(cut []history.ChunkID) bool {
			return !slices.ContainsFunc(cut, func(c history.ChunkID) bool { return !at[c].there })
		})
		for _, c := range m.Chunks {
			if !m.Held && at[c].erased.After(m.Erased) {
				m.Erased = at[c].erased
			}
		}
	}
	return nil
}

// chunkState is what the places of a chunk show, at any moment.
type chunkState struct {
	there  bool      // it has a place
	erased time.Time // when it was erased last; zero = nothing shows that it was
}

// placesOf looks at each place of some chunks.
func (r *retainer) placesOf(ctx context.Context, of map[history.ChunkID]*chunkState) error {
	see := func(places iter.Seq2[history.Place, error]) error {
		for p, err := range places {
			if err != nil {
				return err
			}
			c := of[p.Chunk]
			switch {
			case c == nil:
			case !p.Erased():
				c.there = true
			case p.ErasedAt().After(c.erased):
				c.erased = p.ErasedAt()
			}
		}
		return nil
	}
	for _, o := range r.have.log {
		if err := see(history.LogPlaces(ctx, r.store, o.key(r.f.Path))); err != nil {
			return err
		}
	}
	for _, c := range r.have.checkpoints {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if err == nil {
			err = errors.Join(see(m.AllPlaces()), m.Close())
		}
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
	}
	return nil
}

func (x *FoundMessage) add(m *history.Message) {
	x.Size = m.Size
	if len(m.Chunks) > 0 && !slices.ContainsFunc(x.cuts, func(cut []history.ChunkID) bool { return slices.Equal(cut, m.Chunks) }) {
		x.cuts = append(x.cuts, m.Chunks)
	}
	for _, c := range m.Chunks {
		if !slices.Contains(x.Chunks, c) {
			x.Chunks = append(x.Chunks, c)
		}
	}
}

// soundLog lists the backup, and returns an error if it cannot be read completely.
func (r *retainer) soundLog(ctx context.Context) error {
	there, err := r.relist(ctx)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("it has no log: %w", history.ErrBeforeFirst)
	}
	if err := r.notSealed(ctx); err != nil {
		return err
	}
	if err := r.noOdd(ctx); err != nil {
		return err
	}
	return r.unbroken(ctx)
}

// noOdd returns an error if the log has objects that readers ignore. A commit that is in a segment as well, because a merge
// was interrupted, is none.
func (r *retainer) noOdd(ctx context.Context) error {
	odd, err := r.log().Odd(ctx)
	if err == nil && len(odd) > 0 {
		err = r.contradiction(ctx)
	}
	return err
}

// eachMessage calls fn for each message that the log, or a checkpoint, makes known, as often as it does, with the commit in
// which it arrived.
func (r *retainer) eachMessage(ctx context.Context, fn func(m *history.Message, commit uint64)) error {
	for c, err := range r.log().Commits(ctx, r.have.log[0].from, r.have.newest) {
		if err != nil {
			return err
		}
		for e, err := range c.Events() {
			if err != nil {
				return err
			}
			if e, ok := e.(*history.MessagesEvent); ok {
				for i := range e.Messages {
					fn(&e.Messages[i], c.Header().Number)
				}
			}
		}
	}
	for _, c := range r.have.checkpoints {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		for s, serr := range m.Messages() {
			if serr != nil {
				err = serr
				break
			}
			fn(&s.Message, s.Commit)
		}
		if err = errors.Join(err, m.Close()); err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
	}
	return nil
}
