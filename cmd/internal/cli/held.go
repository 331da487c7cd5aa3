package cli

import (
	"bytes"
	"context"
	"io"
)

// heldMost is how many bytes of output may be held.
const heldMost = 64 << 10

// Held is the output of work that is done beside other work, until its turn to print. It is for one
// goroutine.
type Held struct {
	Ctx  context.Context
	Turn <-chan struct{} // closed when the work may print

	writes []heldWrite
	size   int
}

type heldWrite struct {
	to   io.Writer
	text []byte
}

// Release waits for the turn and prints.
func (h *Held) Release() error {
	select {
	case <-h.Turn:
	case <-h.Ctx.Done():
		return h.Ctx.Err()
	}
	for _, w := range h.writes {
		if _, err := w.to.Write(w.text); err != nil {
			return err
		}
	}
	h.writes = nil
	return nil
}

// MayPrint reports whether the turn has come.
func (h *Held) MayPrint() bool {
	select {
	case <-h.Turn:
		return true
	default:
		return false
	}
}

// Writer returns a writer that holds text until the turn. It keeps single writes apart, because each
// write to standard error is one message.
func (h *Held) Writer(to io.Writer) io.Writer { return heldWriter{h, to} }

type heldWriter struct {
	*Held
	to io.Writer
}

func (w heldWriter) Write(p []byte) (int, error) {
	if !w.MayPrint() && w.size+len(p) <= heldMost {
		w.writes = append(w.writes, heldWrite{w.to, bytes.Clone(p)})
		w.size += len(p)
		return len(p), nil
	}
	if err := w.Release(); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}
