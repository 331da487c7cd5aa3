package partitions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// applyFromBucket reads commit n from the bucket and applies it to the index. size is the
// size of its object.
func (b *Backup) applyFromBucket(ctx context.Context, n uint64, size int64) error {
	return await0(ctx, func() error {
		return history.ReadCommit(ctx, b.part.store, b.path, n, func(c *history.CommitReader) error {
			return b.apply(ctx, c, size, false)
		})
	})
}

// applyBytes applies a commit to the index from the bytes that were just put.
func (b *Backup) applyBytes(ctx context.Context, n uint64, obj []byte) error {
	s := overlayStore{b.part.store, history.LogKey(b.path, n), obj}
	return await0(ctx, func() error { // record blocks that the commit names are read from the store
		return history.ReadCommit(ctx, s, b.path, n, func(c *history.CommitReader) error {
			return b.apply(ctx, c, int64(len(obj)), true)
		})
	})
}

// overlayStore is a store that serves one object from memory.
type overlayStore struct {
	objstore.Store
	key string
	obj []byte
}

func (s overlayStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if key != s.key || off != 0 || n >= 0 {
		return s.Store.Get(ctx, key, off, n)
	}
	return &objstore.Object{
		ReadCloser: io.NopCloser(bytes.NewReader(s.obj)),
		Info:       objstore.Info{Key: key, Size: int64(len(s.obj))},
	}, nil
}

// redo applies a commit again that a crash left partly applied.
func (b *Backup) redo(ctx context.Context) error {
	b.set.log.Info("a commit was being applied when the daemon ended: it is applied again", "backup", b.path, "number", b.entry.Applying)
	err := b.applyFromBucket(ctx, b.entry.Applying, 0)
	if errors.Is(err, objstore.ErrNotExist) {
		// The commit was merged since then, or the bucket was restored. The part of it in the
		// index is useless.
		err = fmt.Errorf("commit %d is missing from the bucket, and the index has a part of it: %w", b.entry.Applying, errOtherHistory)
	}
	if err != nil {
		return err
	}
	found, err := b.stat(ctx, b.entry.Number)
	if err != nil || found == nil {
		return err
	}
	return b.proveIfLate(ctx, found)
}

// apply applies one commit to the index. ours means that this process has put it, with
// places from this index. This can take several transactions, and the size
// of the commit does not predict how many: a complete set of one record can sweep a hundred
// thousand. The first write sets the mark Applying, and the last write clears it. With one
// transaction nobody sees the mark; with several, the first one stores it. After an
// interruption the commit is applied again, and then its counters are computed again.
func (b *Backup) apply(ctx context.Context, c *history.CommitReader, size int64, ours bool) error {
	h := c.Header()
	// An empty prev means that the writer of the commit could not read the commit before it,
	// which a checkpoint may cover. An index that holds more than the bucket is rebuilt then.
	follows := h.Prev == b.entry.Hash || h.Prev == "" && b.entry.Rebuilding
	if h.Number != b.entry.Number+1 || !follows {
		return fmt.Errorf("commit %d of %s does not continue commit %d (its prev is %.12s…, want %.12s…): %w",
			h.Number, b.path, b.entry.Number, h.Prev, b.entry.Hash, errOtherHistory)
	}
	b.last = h
	redo := b.entry.Applying == h.Number
	b.entry.Applying = h.Number
	next := *b.entry
	var seen applied
	err := b.set.index.UpdateLong(func(t *index.Txn) error {
		if err := writeEntry(t, b.path, &next); err != nil {
			return err
		}
		st := &State{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
		var err error
		seen, err = b.foldAll(ctx, st, c, redo, ours)
		if err == nil {
			err = st.flush()
		}
		if err != nil {
			return err
		}
		hash, err := c.Hash()
		if err != nil {
			return err
		}
		next.Number, next.Hash, next.Time, next.Random, next.Applying = h.Number, hash, h.Time, h.Random, 0
		next.ETag = ""
		next.LogBytes += size
		if err := next.noteOwn(t, b.path, h, size, seen, b.set.opt.Now()); err != nil {
			return err
		}
		if next.Sealed, err = st.sealed(); err != nil {
			return err
		}
		return writeEntry(t, b.path, &next)
	})
	if err != nil {
		return fmt.Errorf("apply commit %d of %s: %w", h.Number, b.path, err)
	}
	*b.entry = next
	if ours {
		b.part.wrote.Store(b.set.opt.Now().UnixNano())
		b.part.counters.committed(size, &seen)
		b.countDeleted(h.Time, seen)
	}
	return nil
}

func (b *Backup) foldAll(ctx context.Context, st *State, c *history.CommitReader, redo, ours bool) (seen applied, err error) {
	rp := history.Replayer{State: st, Blocks: b.blocks(ctx)}
	defer func() { seen.added, seen.removed = seen.added+rp.Added, seen.removed+rp.Removed }()
	var messages []history.Message
	for e, err := range readAhead(1, c.Events()) {
		if err != nil {
			return seen, err
		}
		if e, ok := e.(*history.LostEvent); ok {
			ours = false // places that other messages need may go, too
			if err := st.unshare(e.Messages); err != nil {
				return seen, err
			}
		}
		seen.note(e)
		if err := b.noteDeleted(&seen, st, e); err != nil {
			return seen, err
		}
		if err := rp.Apply(c.Header(), e); err != nil {
			return seen, err
		}
		b.noteLock(e)
		switch e.(type) {
		case *history.PruneEvent, *history.RetainedEvent, *history.ErasedEvent:
			b.prunes++
		}
		if _, ok := e.(*history.BridgedEvent); ok && !b.entry.Rebuilding {
			// Its writer could not read commits that this index may contain.
			return seen, fmt.Errorf("commit %d bridges lost commits: %w", c.Header().Number, errOtherHistory)
		}
		if e, ok := e.(*history.MessagesEvent); ok && !ours {
			messages = append(messages, e.Messages...)
		}
	}
	share := func() error { return st.share(c, messages) }
	if ours {
		share = func() error { return st.placeInline(c) }
	}
	if err := share(); err != nil {
		return seen, err
	}
	if !redo {
		return seen, nil
	}
	return seen, st.recount()
}

// recount computes the counters of the Replayer again, because a commit that was applied
// twice was counted twice.
func (s *State) recount() error {
	for old, err := range s.Mailboxes() {
		if err != nil {
			return err
		}
		m, err := history.Recount(s, old.UniqueID)
		if err != nil {
			return err
		}
		m.TopUID = max(m.TopUID, old.TopUID) // the record may have been pruned
		if err := s.PutMailbox(m); err != nil {
			return err
		}
	}
	return nil
}

// share records the places that a commit names. It also makes the messages that are stored
// in packs known to the partition, so that any backup may refer to them.
func (s *State) share(c *history.CommitReader, messages []history.Message) error {
	w := s.placer()
	w.messages.most = max(w.messages.most, len(messages))
	for i := range messages {
		if err := w.message(&messages[i]); err != nil {
			return err
		}
	}
	for p, err := range readAhead(importGroup, c.Places()) {
		if err != nil {
			return err
		}
		if err := w.place(p); err != nil {
			return err
		}
	}
	return w.end(nil)
}

// placeInline records the places in the object of a commit that this process has put. The
// other places come from the index.
func (s *State) placeInline(c *history.CommitReader) error {
	for p, err := range c.LogPlaces() {
		if err != nil {
			return err
		}
		if _, packed := parsePlace(p); packed {
			continue
		}
		if err := s.putInline(p); err != nil {
			return err
		}
	}
	return nil
}

// shareKnown makes a message of this backup known to the partition if all of its chunks are
// in packs.
func (s *State) shareKnown(m history.Message) error {
	if s.part.private() || m.Missing || m.Private {
		return nil
	}
	none := new(history.Condemned)
	old, known, err := s.part.lookupShared(s.t, m.GUID)
	if err != nil {
		return err
	}
	if known {
		if live, err := s.part.sharedUsable(s.t, none, m.GUID, old); live || err != nil {
			return err
		}
	}
	if live, err := s.part.allUsable(s.t, none, m.GUID, m.Chunks); err != nil || !live {
		return err
	}
	return s.part.indexShared(s.t, m.GUID, shared{size: m.Size, chunks: m.Chunks})
}

// unshare removes the shared entries and the chunk places of messages whose bodies are
// lost, so that nobody refers to them. It must run before the lost event is applied.
func (s *State) unshare(lost []cyrus.GUID) error {
	s.part.recent.forget()
	for _, g := range lost {
		m, err := s.Message(g)
		if err != nil || m == nil || m.Missing {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.t.Delete(index.SharedKey(s.part.name, g[:])); err != nil {
			return err
		}
		for _, c := range m.Chunks {
			if err := s.t.Delete(index.ChunkKey(s.part.name, c[:])); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocks returns the reader for the record blocks that a commit names.
func (b *Backup) blocks(ctx context.Context) history.BlockReader {
	return func(r history.BlockRef) iter.Seq2[*cyrus.Record, error] {
		return readAhead(importGroup, history.ReadBlock(ctx, b.part.store, r))
	}
}
