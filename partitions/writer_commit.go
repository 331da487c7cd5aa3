package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Commit makes everything durable in the order that design.md requires: packs and record
// blocks, then the commit, then the index.
func (w *Writer) Commit(ctx context.Context) error {
	release, err := w.memory(ctx, w.bld)
	if err != nil {
		return err
	}
	defer release()
	if err := w.bodies(ctx, w.bld); err != nil {
		return err
	}
	return w.put(ctx, w.bld)
}

const (
	// messageMemory is about what a new message takes from here on until the commit is applied, in
	// bytes: its events and places, compressed and read again, and entries of the index.
	messageMemory = 1 << 10
	// smallCommit is the memory of a commit that waits for no other one.
	smallCommit = 256 << 10
)

// commitMemory returns what the commits of a partition may take at the same time, in bytes: one of
// the largest or many small ones. Without a limit, each of many clients would have a large one.
func (o *Options) commitMemory() int64 { return o.MemoryLimit / 4 }

// memory waits for the memory of a commit, which other commits of the partition release when they
// are applied.
func (w *Writer) memory(ctx context.Context, bld *history.Builder) (release func(), err error) {
	n := int64(len(w.news))*messageMemory + bld.Size()
	for _, m := range w.staged {
		n += int64(len(m.body)) // the object has a copy
	}
	if n < smallCommit {
		return func() {}, nil
	}
	p := w.b.part
	n = min(n, w.b.set.opt.commitMemory())
	if !p.commits.TryAcquire(n) {
		limit, stop := limited(ctx)
		defer stop()
		if err := p.commits.Acquire(limit, n); err != nil {
			return nil, fmt.Errorf("wait for the memory of a commit: %w", givenUp(ctx, err))
		}
	}
	return func() { p.commits.Release(n) }, nil
}

// put commits. The bodies that are inline in the commit need no further proof soon.
func (w *Writer) put(ctx context.Context, bld *history.Builder) error {
	b := w.b
	epoch := b.part.epoch.Load()
	if err := b.commit(ctx, w.who, bld, w.recheck); err != nil {
		return err
	}
	b.part.saw(history.LogKey(b.path, b.entry.Number), epoch)
	if err := w.provedAgain(ctx); err != nil {
		return err
	}
	w.countMessages()
	w.unstage()
	return nil
}

// commitMessages commits the messages gathered so far, before the mailbox that names them.
// Nothing refers to them yet, and this limits the size of a commit.
func (w *Writer) commitMessages(ctx context.Context) error {
	bld := history.NewBuilder(history.Header{}, w.b.set.opt.Pack)
	release, err := w.memory(ctx, bld)
	if err != nil {
		return err
	}
	defer release()
	if err := w.bodies(ctx, bld); err != nil {
		return err
	}
	// The messages exist whatever others commit meanwhile, but the state that the records are
	// a delta against may change.
	return w.put(ctx, bld)
}

// bodies makes the new messages durable: in the commit itself if they are in memory, otherwise
// in packs. It records the messages and where each chunk is stored.
func (w *Writer) bodies(ctx context.Context, bld *history.Builder) error {
	bld.Expect(len(w.news))
	for part := range slices.Chunk(w.news, history.MaxMessagesPerEvent) {
		if err := bld.Event(&history.MessagesEvent{Messages: part}); err != nil {
			return err
		}
	}
	var packed []*stagedMessage
	for _, m := range w.staged {
		if !m.inMem {
			packed = append(packed, m)
		}
	}
	if err := w.stage.flush(ctx, packed); err != nil {
		return err
	}
	for _, m := range packed {
		if n := m.packNumber(); n != 0 && m.part == w.b.part {
			w.known[m.guid] = n // need not be looked up
		}
	}
	inline := map[cyrus.GUID]struct{}{}
	for _, m := range w.staged {
		if m.inMem {
			inline[m.guid] = struct{}{}
			entry := m.whole().entry()
			bld.Inline(entry, m.body)
			bld.Place(history.Place{Chunk: m.chunks[0], Object: ".", Entry: entry})
		}
	}
	return w.places(ctx, bld, inline)
}

// places records where the chunks of new messages are stored that are not inline. It first
// proves these chunks and the chunks of messages that are named again.
func (w *Writer) places(ctx context.Context, bld *history.Builder, inline map[cyrus.GUID]struct{}) error {
	var at []history.Place
	err := w.b.set.index.View(func(t *index.Txn) (err error) {
		l := placeLookup{part: w.b.part, t: t, said: make(map[history.ChunkID]struct{}, len(w.news)), objects: map[uint64]string{}}
		at, err = w.indexed(&l, inline)
		return err
	})
	if err != nil {
		return errors.Join(err, w.stage.forgetLost(w.b.part))
	}
	if at, err = w.certain(ctx, at, false); err != nil {
		return err
	}
	if err := w.notCondemned(ctx, at); err != nil {
		return err
	}
	w.names(at, false)
	for _, p := range at {
		bld.Place(p)
	}
	return w.proveReused(ctx)
}

// certain is Partition.certain. It also forgets staged messages that depend on something lost.
func (w *Writer) certain(ctx context.Context, places []history.Place, again bool) ([]history.Place, error) {
	at, err := w.b.part.certain(ctx, places, again)
	if err != nil {
		return nil, errors.Join(err, w.stage.forgetLost(w.b.part))
	}
	return at, nil
}

// unstage forgets the messages that the commit has added to the backup.
func (w *Writer) unstage() {
	for _, m := range w.staged {
		if w.stage.msgs[m.guid] == m {
			w.stage.committed(m, w.b.path)
		}
	}
	clear(w.staged)
	clear(w.news)
	w.staged, w.news = w.staged[:0], w.news[:0] // the next commit of a large mailbox is as large
	clear(w.known)
	w.named, w.again = w.named[:0], w.again[:0]
}
