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
	// Shared is how many of its chunks other messages of the backup have, too: these stay.
	Shared int
	// Left means that it is not held, and that a chunk of it is there which can be removed. Another message had it when
	// this one was erased.
	Left bool

	cuts [][]history.ChunkID // how it was cut into chunks, each way once
	seen bool
}

// FindMessages finds messages in the log and in every checkpoint of a backup. A message that it does not find is not in
// the result. It changes nothing.
func FindMessages(ctx context.Context, f *repository.Found, guids []cyrus.GUID, o RetainOptions) (found []FoundMessage, err error) {
	o.Lock.SetDefaults()
	r := newRetainer(f, nil, o)
	r.now = o.Lock.Now() // nothing is removed, so the time of the store does not matter
	r.messages = &Messages{}
	for _, g := range guids {
		r.messages.List = append(r.messages.List, repository.ErasedMessage{GUID: g, Chunks: []history.ChunkID{}})
	}
	if err := r.soundLog(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	seen, err := r.lookAround(ctx)
	if err == nil {
		err = r.holdBodies(ctx, seen)
	}
	if err != nil {
		return nil, err
	}
	if err := r.lookAtNewest(ctx, seen.want); err != nil {
		return nil, err
	}
	for _, g := range guids {
		if is := seen.want[g]; is.seen && !slices.ContainsFunc(found, func(x FoundMessage) bool { return x.GUID == g }) {
			found = append(found, *is)
		}
	}
	return found, nil
}

// lookAtNewest finds out what the newest state has of the messages.
func (r *retainer) lookAtNewest(ctx context.Context, by map[cyrus.GUID]*FoundMessage) error {
	m, err := r.f.Load(ctx, history.Moment{Now: r.now})
	if err != nil {
		return err
	}
	defer m.Close()
	live, err := liveIn(m, r.messages.guids())
	if err != nil {
		return err
	}
	for g, is := range by {
		is.Live = live[g]
		st, err := m.Message(g)
		if err != nil {
			return err
		}
		if st != nil && !st.Erased.IsZero() {
			is.Erased = st.Erased
		}
	}
	return nil
}

// holdBodies finds out which messages have a place of each of their chunks, and what can be removed.
func (r *retainer) holdBodies(ctx context.Context, seen *around) error {
	at := chunkStates{}
	at.add(seen.want)
	at.add(seen.others)
	if err := r.placesOf(ctx, at); err != nil {
		return err
	}
	seen.leaveErased(at)
	shared := seen.shared()
	for _, m := range seen.want {
		m.Held = slices.ContainsFunc(m.cuts, at.there)
		for _, c := range m.Chunks {
			if shared[c] {
				m.Shared++
			}
			if m.Held {
				continue
			}
			m.Left = m.Left || at[c].there && !shared[c]
			if at[c].erased.After(m.Erased) {
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

type chunkStates map[history.ChunkID]*chunkState

func (s chunkStates) add(of map[cyrus.GUID]*FoundMessage) {
	for _, m := range of {
		for _, c := range m.Chunks {
			s[c] = new(chunkState)
		}
	}
}

// there reports whether all of the chunks have a place.
func (s chunkStates) there(cut []history.ChunkID) bool {
	return !slices.ContainsFunc(cut, func(c history.ChunkID) bool { return !s[c].there })
}

// erased reports whether one of the chunks was erased, and has no place any more.
func (s chunkStates) erased(cut []history.ChunkID) bool {
	return slices.ContainsFunc(cut, func(c history.ChunkID) bool { return !s[c].there && !s[c].erased.IsZero() })
}

// placesOf looks at each place of some chunks.
func (r *retainer) placesOf(ctx context.Context, of chunkStates) error {
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
	blocks := map[string]bool{} // the checkpoints share most of them
	return r.eachCheckpoint(ctx, func(m *history.Mem) error { return see(m.PlacesUnseen(blocks)) })
}

// eachCheckpoint calls fn for each checkpoint.
func (r *retainer) eachCheckpoint(ctx context.Context, fn func(*history.Mem) error) error {
	for _, c := range r.have.checkpoints {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if err == nil {
			err = errors.Join(fn(m), m.Close())
		}
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
	}
	return nil
}

func (x *FoundMessage) add(m *history.Message) {
	x.Size, x.seen = m.Size, true
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

// eachMessage calls message for each message that the log, or a checkpoint, makes known, at least once, with the commit in
// which it arrived; and erased for each event about erased messages in the log.
func (r *retainer) eachMessage(ctx context.Context, message func(*history.MessageState), erased func(history.Header, *history.ErasedEvent)) error {
	for c, err := range r.log().Commits(ctx, r.have.log[0].from, r.have.newest) {
		if err != nil {
			return err
		}
		for e, err := range c.Events() {
			if err != nil {
				return err
			}
			switch e := e.(type) {
			case *history.MessagesEvent:
				for _, m := range e.Messages {
					message(&history.MessageState{Message: m, Commit: c.Header().Number})
				}
			case *history.ErasedEvent:
				erased(c.Header(), e)
			}
		}
	}
	blocks := map[string]bool{}
	return r.eachCheckpoint(ctx, func(m *history.Mem) error {
		for s, err := range m.MessagesUnseen(blocks) {
			if err != nil {
				return err
			}
			message(s)
		}
		return nil
	})
}
