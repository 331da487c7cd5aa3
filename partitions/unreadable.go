package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// errBodyLost reports that a body can no longer be read from its partition. The index has
// recorded the loss.
var errBodyLost = errors.New("the body of a message is lost")

// openMessage streams a message whose chunks are stored at these places. It records a chunk
// that turns out to be lost, so that nothing new refers to it and its backups are healed.
func (p *Partition) openMessage(ctx context.Context, m *history.MessageState, places map[history.ChunkID]history.Place) (io.ReadCloser, error) {
	body, err := history.OpenMessage(ctx, p.objects, m, func(c history.ChunkID) ([]history.Place, error) {
		at, ok := places[c]
		if !ok {
			return nil, nil
		}
		return []history.Place{at}, nil
	})
	if err != nil {
		return nil, p.unreadable(ctx, err)
	}
	return &watchedBody{ReadCloser: body, ctx: ctx, part: p}, nil
}

// watchedBody records damage that is found while the body is read.
type watchedBody struct {
	io.ReadCloser
	ctx  context.Context // passed to openMessage
	part *Partition
}

func (b *watchedBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.part.unreadable(b.ctx, err)
	}
	return n, err
}

// unreadable examines an error of reading a message, and records damage.
func (p *Partition) unreadable(ctx context.Context, err error) error {
	var chunk *history.ChunkError
	if !errors.As(err, &chunk) || !history.IsUnreadable(err) || ctx.Err() != nil {
		return err
	}
	p.objects.Forget() // the chunk may have been read with the directory of a former object
	again := p.examine(ctx, chunk.Place)
	if again == nil {
		again = fmt.Errorf("a second look finds nothing wrong: %w", cyrus.ErrLocked)
	}
	return fmt.Errorf("%w: %w", again, err)
}

// examine reads a chunk again without any cached data. It returns nil if the chunk is intact.
func (p *Partition) examine(ctx context.Context, pl history.Place) error {
	objects := history.NewObjects(p.store, 1)
	err := await0(ctx, func() error { return history.CheckChunk(ctx, objects, pl) })
	if err == nil || !history.IsUnreadable(err) {
		return err
	}
	if errors.Is(err, objstore.ErrNotExist) || errors.Is(err, history.ErrNoPlace) {
		p.proofs.drop(objectID(pl.Object))
		if _, gone := p.certain(ctx, []history.Place{pl}, true); gone != nil {
			return fmt.Errorf("%w: %w", errBodyLost, gone)
		}
	}
	return p.noteDamage(ctx, objects, pl, err)
}

// noteDamage marks a damaged chunk in its place, or the whole object if its directory is
// damaged.
func (p *Partition) noteDamage(ctx context.Context, objects *history.Objects, pl history.Place, why error) error {
	l := loss{object: objectID(pl.Object), chunk: &pl.Chunk, how: lossDamaged}
	if _, err := objects.Directory(ctx, pl.Object); err != nil && history.IsUnreadable(err) && !errors.Is(err, objstore.ErrNotExist) {
		l.chunk = nil
	}
	added, err := p.noteLost([]loss{l}, true)
	if err != nil {
		return err
	}
	if added > 0 {
		p.set.log.Error("a message cannot be read: the source is asked for it again if it still has it",
			"partition", p.name, "object", pl.Object, "entry", pl.Entry, "err", why)
	}
	return errBodyLost
}
