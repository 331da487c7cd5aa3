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
}

// FindMessages finds messages in the log and in every checkpoint of a backup. A message that it does not find is not in
// the result. It changes nothing.
func FindMessages(ctx context.Context, f *repository.Found, guids []cyrus.GUID, o RetainOptions) (found []FoundMessage, err error) {
	r := newRetainer(f, nil, o)
	if r.now, err = r.storeNow(ctx); err != nil {
		return nil, err
	}
	if err := r.soundLog(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	by := map[cyrus.GUID]*FoundMessage{}
	want := map[cyrus.GUID]bool{}
	for _, g := range guids {
		want[g] = true
	}
	err = r.eachMessage(ctx, func(m *history.Message) {
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

// holdBodies finds out which messages have a place of a chunk.
func (r *retainer) holdBodies(ctx context.Context, by map[cyrus.GUID]*FoundMessage) error {
	of := map[history.ChunkID][]*FoundMessage{}
	for _, m := range by {
		for _, c := range m.Chunks {
			of[c] = append(of[c], m)
		}
	}
	see := func(places iter.Seq2[history.Place, error]) error {
		for p, err := range places {
			if err != nil {
				return err
			}
			for _, m := range of[p.Chunk] {
				if p.Erased() {
					m.Erased = p.ErasedAt()
				} else {
					m.Held = true
				}
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

// eachMessage calls fn for each message that the log, or a checkpoint, makes known, as often as it does.
func (r *retainer) eachMessage(ctx context.Context, fn func(*history.Message)) error {
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
					fn(&e.Messages[i])
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
			fn(&s.Message)
		}
		if err = errors.Join(err, m.Close()); err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
	}
	return nil
}

// surveyMessages finds the chunks of the messages, and which of them other messages have, too: these stay. It returns
// an error if nothing of a message would go.
func (r *retainer) surveyMessages(ctx context.Context) error {
	if err := r.soundLog(ctx); err != nil {
		return err
	}
	want, of := r.messages.guids(), map[history.ChunkID]bool{}
	found := map[cyrus.GUID]*FoundMessage{}
	for i := range r.messages.List {
		m := &r.messages.List[i]
		found[m.GUID] = &FoundMessage{ErasedMessage: *m}
	}
	err := r.eachMessage(ctx, func(m *history.Message) {
		if want[m.GUID] {
			found[m.GUID].add(m)
		}
	})
	if err != nil {
		return err
	}
	for i := range r.messages.List {
		m := &r.messages.List[i]
		m.Chunks = found[m.GUID].Chunks
		for _, c := range m.Chunks {
			of[c] = true
		}
	}
	r.redact = redaction{shared: map[history.ChunkID]bool{}, large: map[uint64]bool{}}
	err = r.eachMessage(ctx, func(m *history.Message) {
		if want[m.GUID] {
			return
		}
		for _, c := range m.Chunks {
			if of[c] {
				r.redact.shared[c] = true
			}
		}
	})
	if err != nil {
		return err
	}
	for _, m := range r.messages.List {
		own := slices.ContainsFunc(m.Chunks, func(c history.ChunkID) bool { return !r.redact.shared[c] })
		if !own && len(m.Chunks) > 0 {
			return fmt.Errorf("message %s: every part of it is a part of other messages, too: erase these as well", m.GUID)
		}
	}
	return nil
}
