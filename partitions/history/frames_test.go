package history

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// packOfMany returns the key of a pack of messages that fill several frames.
func (w *writer) packOfMany(count, size int) (key string, messages []Message, bodies [][]byte) {
	entries, order := map[string][]byte{}, []string(nil)
	for n := range count {
		body := text(n, size)
		m := message(body)
		messages, bodies = append(messages, m), append(bodies, body)
		order = append(order, m.GUID.String()+".eml")
		entries[order[n]] = body
	}
	return w.packOf(entries, order...), messages, bodies
}

// Each frame is requested once for all of its messages, however many goroutines read them.
func TestKeepFrames(t *testing.T) {
	w := newWriter(t)
	key, messages, bodies := w.packOfMany(1200, 1000) // five frames
	requests := func(keep bool) int {
		calls := trace(w)
		o := NewObjects(w.store, 0)
		if keep {
			o.KeepFrames(1 << 20)
		}
		var g errgroup.Group
		g.SetLimit(4)
		for n, m := range messages {
			g.Go(func() error {
				r, err := OpenMessage(t.Context(), o, &MessageState{Message: m}, placesIn(key, m.GUID.String()+".eml"))
				if err != nil {
					return err
				}
				b, err := io.ReadAll(r)
				if err == nil && !bytes.Equal(b, bodies[n]) {
					err = fmt.Errorf("message %d has other bytes", n)
				}
				return closeAfter(r, err)
			})
		}
		w.must(g.Wait())
		if keep && o.frames.bytes > 1<<20 {
			t.Errorf("%d bytes of frames are kept", o.frames.bytes)
		}
		return len(*calls)
	}
	// Four readers may ask for the directory at once, and a slow one for a frame that was dropped.
	if n := requests(true); n > 40 {
		t.Errorf("%d requests for five frames and the directory", n)
	}
	if n := requests(false); n < len(messages) {
		t.Errorf("%d requests without kept frames: the test compares nothing", n)
	}
}

// A message that does not match its hashes is reported as without kept frames, and the others
// of the frame can be read.
func TestKeepFramesDamage(t *testing.T) {
	w := newWriter(t)
	key, messages, bodies := w.packOfMany(20, 100_000)
	wrong := messages[3]
	wrong.Size++
	o, plain := NewObjects(w.store, 0), NewObjects(w.store, 0)
	o.KeepFrames(1 << 20)
	place := placesIn(key, wrong.GUID.String()+".eml")
	_, err := w.read(o, wrong, place)
	if _, want := w.read(plain, wrong, place); err == nil || err.Error() != want.Error() || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("%v, want %v", err, want)
	}
	b, err := w.read(o, messages[4], placesIn(key, messages[4].GUID.String()+".eml"))
	if err != nil || !bytes.Equal(b, bodies[4]) {
		t.Errorf("the next message: %d bytes, %v", len(b), err)
	}
	w.delete(key)
	o.Forget()
	if _, err := w.read(o, messages[4], placesIn(key, messages[4].GUID.String()+".eml")); err == nil {
		t.Error("a frame is kept after Forget")
	}
}
