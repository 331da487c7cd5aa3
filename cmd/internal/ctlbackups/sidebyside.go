package ctlbackups

import (
	"bytes"
	"context"
	"io"
	"iter"

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
	// heldMost is how many bytes of output a backup may have before its turn to print them.
	heldMost = 64 << 10
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
		h := &held{ctx: ctx, turn: turn}
		one := *c
		one.ctx, one.out, one.err = ctx, heldWriter{h, c.out}, heldWriter{h, c.err}
		err := fn(&one, b.b)
		if lost := h.release(); err == nil {
			err = lost
		}
		return err
	}))
}

// held is the output of one backup before its turn.
type held struct {
	ctx    context.Context
	turn   <-chan struct{} // closed when this backup may print
	writes []heldWrite
	size   int
}

type heldWrite struct {
	to   io.Writer
	text []byte
}

// release waits for the turn and prints.
func (h *held) release() error {
	select {
	case <-h.turn:
	case <-h.ctx.Done():
		return h.ctx.Err()
	}
	for _, w := range h.writes {
		if _, err := w.to.Write(w.text); err != nil {
			return err
		}
	}
	h.writes = nil
	return nil
}

// mayPrint reports whether the turn has come.
func (h *held) mayPrint() bool {
	select {
	case <-h.turn:
		return true
	default:
		return false
	}
}

// heldWriter holds what is written until the turn. It keeps single writes apart, because each
// write to standard error is one message.
type heldWriter struct {
	*held
	to io.Writer
}

func (w heldWriter) Write(p []byte) (int, error) {
	if !w.mayPrint() && w.size+len(p) <= heldMost {
		w.writes = append(w.writes, heldWrite{w.to, bytes.Clone(p)})
		w.size += len(p)
		return len(p), nil
	}
	if err := w.release(); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}
