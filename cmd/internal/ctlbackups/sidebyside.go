package ctlbackups

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/inorder"
)

const (
	// atOnce is how many backups are read at a time.
	atOnce = 32
	// verifiedAtOnce is the same if every message is read. Each reads several at a time.
	verifiedAtOnce = 4
	// bytesAtOnce bounds the logs that are read at a time, since states take memory. A backup with
	// a longer log is read alone.
	bytesAtOnce = 16 << 20
)

// chosen is a backup that the command line chooses, or an error instead.
type chosen[B measured] struct {
	b   B
	err error
}

// measured is a backup with the size of its log, if that is known.
type measured interface{ ListedBytes() (n int64, ok bool) }

// weight is the size of the backup's log. An unknown log, of a backup that was named or that has
// many objects, counts as a quarter of bytesAtOnce.
func (b chosen[B]) weight() int64 {
	if b.err != nil {
		return 0
	}
	if n, ok := b.b.ListedBytes(); ok {
		return n
	}
	return bytesAtOnce / 4
}

// sideBySide is like each for up to n backups at a time. fn must not write to the bucket. It gets a copy of
// the command whose output appears in the order of the backups.
func sideBySide[B measured](c *command, n int, backups iter.Seq2[B, error], fn func(*command, B) error) error {
	in := func(yield func(chosen[B]) bool) {
		for b, err := range backups {
			if !yield(chosen[B]{b, err}) {
				return
			}
		}
	}
	limit := inorder.Limit[chosen[B]]{Count: n, Weight: bytesAtOnce, Of: chosen[B].weight}
	return c.report(inorder.Map(c.ctx, limit, in, func(ctx context.Context, turn <-chan struct{}, b chosen[B]) error {
		if b.err != nil {
			return b.err
		}
		h := &cli.Held{Ctx: ctx, Turn: turn}
		one := *c
		one.ctx, one.out, one.err = ctx, h.Writer(c.out), h.Writer(c.err)
		err := fn(&one, b.b)
		if lost := h.Release(); err == nil {
			err = lost
		}
		return err
	}))
}
