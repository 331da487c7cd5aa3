package history

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// A message that was erased is missing from the event on, with the time, and its checkpoint has version 3 for ever. If it
// arrives again, it is an ordinary message.
func TestErasedMessage(t *testing.T) {
	w := newWriter(t)
	one, other := message(text(1, 10)), message(text(2, 10))
	w.commitWith(func(b *Builder) {
		for _, p := range []Message{one, other} {
			b.Inline(p.GUID.String()+".eml", text(int(1), 10))
			b.Place(Place{Chunk: p.Chunks[0], Object: ".", Entry: p.GUID.String() + ".eml"})
		}
	}, mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{one}}, records("a", record(1, one.GUID)))
	w.commit(&ErasedEvent{Erasure: testErasure, Messages: []cyrus.GUID{one.GUID, {9}}})
	m := w.load(Moment{})
	h, err := ReadHeader(t.Context(), w.store, anne, 2)
	if err != nil || h.Version != 3 {
		t.Fatalf("version %d, %v", h.Version, err)
	}
	check := func(m *Mem) {
		t.Helper()
		s, err := m.Message(one.GUID)
		if err != nil || !s.Missing || !s.Erased.Equal(h.Time) || s.Size != one.Size || s.Commit != 2 {
			t.Errorf("%+v, %v", s, err)
		}
		var erased *ErasedError
		if _, err := OpenMessage(t.Context(), NewObjects(w.store, 0), s, m.Places); !errors.As(err, &erased) || !erased.At.Equal(h.Time) || IsDamage(err) || errors.Is(err, ErrMissing) {
			t.Errorf("%v", err)
		}
	}
	check(m)
	if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
		t.Fatal(err)
	}
	w.commit(&ErasedEvent{Erasure: testErasure, Messages: []cyrus.GUID{one.GUID}}) // the first time stays
	there, err := ReadCheckpoint(t.Context(), w.store, anne, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	check(there)
	check(w.load(Moment{}))
	if diff, err := there.Difference(m); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
	if b, err := there.state(""); err != nil || !bytes.HasPrefix(b, []byte(`{"version":3,`)) {
		t.Errorf("%.80s, %v", b, err)
	}
	w.commit(&MessagesEvent{Messages: []Message{one}})
	again := w.load(Moment{})
	if s, err := again.Message(one.GUID); err != nil || s.Missing || !s.Erased.IsZero() {
		t.Errorf("arrived again: %+v, %v", s, err)
	}
	if !again.erased {
		t.Error("its checkpoint would have version 1")
	}
}

// MovePlaces replaces the places of erased chunks. A reader finds out when they were erased.
func TestMoveErasedPlaces(t *testing.T) {
	w := newWriter(t)
	one, other := message(text(1, 10)), message(text(2, 10))
	w.commitWith(func(b *Builder) {
		for i, p := range []Message{one, other} {
			b.Inline(p.GUID.String()+".eml", text(i+1, 10))
			b.Place(Place{Chunk: p.Chunks[0], Object: ".", Entry: p.GUID.String() + ".eml"})
		}
	}, mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{one, other}})
	m := w.load(Moment{})
	if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)
	for _, want := range []int{1, 0} {
		m, err := ReadCheckpoint(t.Context(), w.store, anne, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var blocks MovedPlaces
		changed, err := m.MovePlaces(&blocks, func(p Place) (Place, error) {
			if p.Chunk != one.Chunks[0] {
				return p, nil
			}
			return ErasedPlace(p.Chunk, at), nil
		})
		if err != nil || changed != want {
			t.Errorf("changed %d, %v", changed, err)
		}
		if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []Message{one, other} {
			r, err := OpenMessage(t.Context(), NewObjects(w.store, 0), &MessageState{Message: s}, m.Places)
			if err == nil {
				_ = r.Close()
			}
			var erased *ErasedError
			if s.GUID == one.GUID && (!errors.As(err, &erased) || !erased.At.Equal(at)) || s.GUID == other.GUID && err != nil {
				t.Errorf("message %s: %v", s.GUID, err)
			}
		}
	}
}

// An erased place is none: a message that has arrived again is read from its new place, and who looks at each place of a
// chunk finds nothing there.
func TestErasedPlaceOfChunk(t *testing.T) {
	w := newWriter(t)
	one := message(text(1, 10))
	erased := ErasedPlace(one.Chunks[0], time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC))
	w.commitWith(func(b *Builder) { b.Place(erased) }, mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{one}})
	w.commitWith(func(b *Builder) {
		b.Inline(one.GUID.String()+".eml", text(1, 10))
		b.Place(Place{Chunk: one.Chunks[0], Object: ".", Entry: one.GUID.String() + ".eml"})
	}, &MessagesEvent{Messages: []Message{one}})
	m, o := w.load(Moment{}), NewObjects(w.store, 0)
	places, err := m.Places(one.Chunks[0])
	if err != nil || len(places) != 1 || places[0].Erased() {
		t.Errorf("%+v, %v", places, err)
	}
	if _, _, err := o.Entry(t.Context(), erased); !errors.Is(err, ErrNoPlace) {
		t.Errorf("%v", err)
	}
	if err := CheckChunk(t.Context(), o, erased); !errors.Is(err, ErrNoPlace) {
		t.Errorf("%v", err)
	}
	if err := CheckChunk(t.Context(), o, places[0]); err != nil {
		t.Error(err)
	}
}
