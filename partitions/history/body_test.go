package history

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// packOf puts a pack and returns its key.
func (w *writer) packOf(entries map[string][]byte, order ...string) string {
	w.t.Helper()
	p := pack.NewWriter(nil, w.options())
	for _, name := range order {
		w.must(p.Add(name, entries[name]))
	}
	object, err := p.Finish()
	w.must(err)
	sum := fmt.Sprintf("%x", sha256.Sum256(object))
	key := "packs/" + sum[:2] + "/" + sum + ".tar.zst"
	w.put(key, object)
	return key
}

// chunked returns a large message in three chunks, with their entries.
func chunked(seed uint64) (Message, map[string][]byte, []string) {
	r := rand.New(rand.NewPCG(seed, 0))
	body := make([]byte, 700<<10)
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	m := Message{GUID: sha1.Sum(body), Size: int64(len(body))}
	entries, order := map[string][]byte{}, []string(nil)
	for part := range slices.Chunk(body, 300<<10) {
		c := ChunkID(sha256.Sum256(part))
		m.Chunks = append(m.Chunks, c)
		order = append(order, c.String()+".part")
		entries[c.String()+".part"] = part
	}
	return m, entries, order
}

func placesIn(object string, entries ...string) func(ChunkID) ([]Place, error) {
	return func(c ChunkID) ([]Place, error) {
		for _, e := range entries {
			if strings.HasPrefix(e, c.String()) || strings.HasSuffix(e, ".eml") {
				return []Place{{Chunk: c, Object: object, Entry: e}}, nil
			}
		}
		return nil, nil
	}
}

func (w *writer) read(o *Objects, m Message, places func(ChunkID) ([]Place, error)) ([]byte, error) {
	w.t.Helper()
	r, err := OpenMessage(w.t.Context(), o, &MessageState{Message: m}, places)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 10)))
	if err == nil {
		var rest []byte
		rest, err = io.ReadAll(r)
		b = append(b, rest...)
	}
	return b, closeAfter(r, err)
}

func TestChunkedMessageIsOneRequest(t *testing.T) {
	w := newWriter(t)
	m, entries, order := chunked(1)
	key := w.packOf(entries, order...)
	calls := trace(w)
	o := NewObjects(w.store, 0)
	for range 2 {
		b, err := w.read(o, m, placesIn(key, order...))
		if err != nil || sha1.Sum(b) != m.GUID {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
	if want := []string{"get " + key, "get " + key, "get " + key}; !slices.Equal(*calls, want) {
		t.Errorf("want one request for the directory and one for each read: %v", *calls)
	}
	// In reverse order, no chunks are adjacent.
	slices.Reverse(order)
	key = w.packOf(entries, order...)
	if b, err := w.read(o, m, placesIn(key, order...)); err != nil || sha1.Sum(b) != m.GUID {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestSmallPackIsOneRequest(t *testing.T) {
	w := newWriter(t)
	entries, order := map[string][]byte{}, []string(nil)
	var messages []Message
	for n := range 30 {
		m := message(text(n, 100))
		messages = append(messages, m)
		order = append(order, m.GUID.String()+".eml")
		entries[order[n]] = text(n, 100)
	}
	key := w.packOf(entries, order...)
	calls := trace(w)
	o := NewObjects(w.store, 0)
	for n, m := range messages {
		b, err := w.read(o, m, placesIn(key, m.GUID.String()+".eml"))
		if err != nil || !bytes.Equal(b, entries[order[n]]) {
			t.Errorf("message %d: %q, %v", n, b, err)
		}
	}
	if len(*calls) != 1 {
		t.Errorf("a small object was read more than once: %v", *calls)
	}
}

func TestDamagedMessages(t *testing.T) {
	w := newWriter(t)
	m, entries, order := chunked(2)
	key := w.packOf(entries, order...)
	wrongGUID, wrongSize, short := m, m, m
	wrongGUID.GUID[3]++
	wrongSize.Size--
	short.Chunks = short.Chunks[:2]
	swapped := m
	swapped.Chunks = []ChunkID{m.Chunks[1], m.Chunks[0], m.Chunks[2]}
	other := map[string][]byte{order[0]: entries[order[1]], order[1]: entries[order[1]], order[2]: entries[order[2]]}
	falseKey := w.packOf(other, order...)
	for name, tt := range map[string]struct {
		m      Message
		places func(ChunkID) ([]Place, error)
		is     error
		want   string
	}{
		"guid":     {wrongGUID, placesIn(key, order...), ErrCorrupt, "SHA-1"},
		"size":     {wrongSize, placesIn(key, order...), ErrCorrupt, "longer than its recorded size"},
		"chunks":   {short, placesIn(key, order...), ErrCorrupt, "shorter than its recorded size"},
		"order":    {swapped, placesIn(key, order...), ErrCorrupt, "SHA-1"},
		"chunk":    {m, placesIn(falseKey, order...), ErrCorrupt, "SHA-256"},
		"no place": {m, placesIn(key, order[:2]...), ErrNoPlace, order[2][:64]},
		"no entry": {m, func(c ChunkID) ([]Place, error) {
			return []Place{{Chunk: c, Object: key, Entry: strings.Repeat("a", 64) + ".part"}}, nil
		}, ErrCorrupt, "no entry"},
		"no object": {m, placesIn("packs/ab/ab.tar.zst", order...), ErrNoPlace, "packs/ab/ab.tar.zst is missing"},
		"missing":   {Message{GUID: m.GUID, Missing: true}, nil, ErrMissing, "body missing"},
	} {
		if _, err := w.read(NewObjects(w.store, 0), tt.m, tt.places); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: have error %v, want one with %q", name, err, tt.want)
		}
	}
	good := w.get(key)
	for i := len(good) / 20; i < len(good); i += len(good) / 20 {
		w.put(key, flip(good, i))
		if _, err := w.read(NewObjects(w.store, 0), m, placesIn(key, order...)); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("flipped at %d of %d: %v", i, len(good), err)
		}
		w.put(key, good[:i])
		if _, err := w.read(NewObjects(w.store, 0), m, placesIn(key, order...)); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("cut at %d of %d: %v", i, len(good), err)
		}
	}
}

// Old places still work after a pack was rewritten and a commit was merged.
func TestMovedPlaces(t *testing.T) {
	w := newWriter(t)
	m, entries, order := chunked(3)
	was := w.packOf(entries, order...)
	now := w.packOf(entries, order[1], order[0], order[2])
	w.delete(was)
	note := Moved{Version: Version, Pack: was, Time: noon, Entries: map[string]string{order[0]: now, order[1]: now, order[2]: now}}
	b, err := note.Append(nil)
	w.must(err)
	key, ok := MovedKey(was)
	if !ok {
		t.Fatal(was)
	}
	w.put(key, b)
	if b, err := w.read(NewObjects(w.store, 0), m, placesIn(was, order...)); err != nil || sha1.Sum(b) != m.GUID {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	delete(note.Entries, order[1])
	b, err = note.Append(nil)
	w.must(err)
	w.put(key, b)
	if _, err := w.read(NewObjects(w.store, 0), m, placesIn(was, order...)); !errors.Is(err, ErrNoPlace) || !strings.Contains(err.Error(), "was dropped") {
		t.Error(err)
	}

	inline := text(9, 500)
	im := message(inline)
	entry := im.GUID.String() + ".eml"
	w.commitWith(func(b *Builder) {
		b.Place(Place{Chunk: im.Chunks[0], Object: ".", Entry: entry})
		b.Inline(entry, inline)
	}, mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{im}})
	w.commit(mailbox("a", "user.anne.x"))
	mem := w.checkpoint()
	packed := w.packOf(map[string][]byte{entry: inline}, entry)
	w.merge(1, 1, func(p Place) (Place, error) { return Place{Chunk: p.Chunk, Object: packed, Entry: p.Entry}, nil })
	for range 2 { // the first checkpoint names a deleted object, the second one does not
		places, err := mem.Places(im.Chunks[0])
		if err != nil || len(places) == 0 {
			t.Fatal(places, err)
		}
		if b, err := w.read(NewObjects(w.store, 0), im, mem.Places); err != nil || !bytes.Equal(b, inline) {
			t.Errorf("%q, %v", b, err)
		}
		p, err := ResolvePlace(t.Context(), w.store, Place{Chunk: im.Chunks[0], Object: LogKey(anne, 1), Entry: entry})
		if err != nil || p.Object != packed {
			t.Errorf("%+v, %v", p, err)
		}
		w.must(mem.AddPlace(p))
		_, err = mem.WriteCheckpoint(t.Context(), w.options())
		w.must(err)
		mem = w.load(Moment{})
	}
	if p, err := mem.Places(im.Chunks[0]); err != nil || p[0].Object != packed {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := ResolvePlace(t.Context(), w.store, Place{Object: LogKey(anne, 7)}); !errors.Is(err, ErrNoPlace) {
		t.Error(err)
	}
	w.rewrite(packed, map[string][]byte{entry: inline})
	if b, err := w.read(NewObjects(w.store, 0), im, placesIn(LogKey(anne, 1), entry)); err != nil || !bytes.Equal(b, inline) {
		t.Errorf("after the rewrite of the pack that the segment names: %q, %v", b, err)
	}
}

// rewrite replaces a pack by another one with other random bytes.
func (w *writer) rewrite(was string, entries map[string][]byte) {
	w.t.Helper()
	now, note := w.packOf(entries, slices.Collect(maps.Keys(entries))...), map[string]string{}
	for e := range entries {
		note[e] = now
	}
	b, err := (&Moved{Version: Version, Pack: was, Time: noon, Entries: note}).Append(nil)
	w.must(err)
	key, _ := MovedKey(was)
	w.put(key, b)
	w.delete(was)
}

// A pack that a note leads to is rewritten in turn, after a reader has cached the note.
func TestMovedAgain(t *testing.T) {
	w := newWriter(t)
	m, entries, order := chunked(3)
	was := w.packOf(entries, order...)
	w.delete(was)
	objects := NewObjects(w.store, 0)
	last := ""
	for i := range 3 {
		now := w.packOf(entries, order...)
		note := Moved{Version: Version, Pack: was, Time: noon, Entries: map[string]string{order[0]: now, order[1]: now, order[2]: now}}
		b, err := note.Append(nil)
		w.must(err)
		key, _ := MovedKey(was)
		w.put(key, b)
		if last != "" {
			w.delete(last)
			objects.forget(last)
		}
		if b, err := w.read(objects, m, placesIn(was, order...)); err != nil || sha1.Sum(b) != m.GUID {
			t.Errorf("rewrite %d: %d bytes, %v", i, len(b), err)
		}
		last = now
	}
}

func TestCondemned(t *testing.T) {
	w := newWriter(t)
	c, info, err := ReadCondemned(t.Context(), w.store)
	if err != nil || len(c.Packs) != 0 || info.ETag != "" {
		t.Fatal(c, info, err)
	}
	c.Packs = append(c.Packs, CondemnedPack{Key: "packs/ab/ab.tar.zst", Since: noon})
	b, err := c.Append(nil)
	w.must(err)
	w.put(CondemnedKey, b)
	c, info, err = ReadCondemned(t.Context(), w.store)
	if err != nil || !c.Has("packs/ab/ab.tar.zst") || c.Has("packs/cd/cd.tar.zst") || info.ETag == "" {
		t.Error(c, info, err)
	}
	for text, is := range map[string]error{"{}": ErrCorrupt, `{"version":2}`: ErrVersion, `{"version":1,"x":1}`: ErrCorrupt, "\xff": ErrCorrupt, "": ErrCorrupt} {
		w.put(CondemnedKey, []byte(text))
		if _, _, err := ReadCondemned(t.Context(), w.store); !errors.Is(err, is) || !strings.Contains(err.Error(), CondemnedKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
	w.delete(CondemnedKey)
	if _, _, err := ReadMoved(t.Context(), w.store, "packs/ab/ab.tar.zst"); !errors.Is(err, objstore.ErrNotExist) {
		t.Error(err)
	}
}

// All sessions of a process share one Objects.
func TestConcurrentObjects(t *testing.T) {
	w := newWriter(t)
	var keys []string
	var messages []Message
	for n := range 6 {
		m := message(text(n, 200))
		messages = append(messages, m)
		entry := m.GUID.String() + ".eml"
		keys = append(keys, w.packOf(map[string][]byte{entry: text(n, 200)}, entry))
	}
	o := NewObjects(w.store, 2) // fewer than there are objects
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			for n := range 30 {
				k := (i + n) % len(keys)
				m := messages[k]
				r, err := OpenMessage(t.Context(), o, &MessageState{Message: m}, placesIn(keys[k], m.GUID.String()+".eml"))
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, r)
				if err := closeAfter(r, err); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.must(g.Wait())
}
