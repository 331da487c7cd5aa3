package history

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// readCommit reads a whole commit.
func readCommit(t *testing.T, s objstore.Store, n uint64) (h Header, events []Event, places []Place, hash string) {
	t.Helper()
	err := ReadCommit(t.Context(), s, anne, n, func(c *CommitReader) error {
		h = c.Header()
		for e, err := range c.Events() {
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		for p, err := range c.Places() {
			if err != nil {
				return err
			}
			places = append(places, p)
		}
		var err error
		hash, err = c.Hash()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, events, places, hash
}

func TestReadCommit(t *testing.T) {
	w := newWriter(t)
	body := text(1, 200)
	m := message(body)
	want := []Event{mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{m}}, &RecordsEvent{UniqueID: "a"}}
	header := w.header()
	b := NewBuilder(header, w.options())
	for _, e := range want[:2] {
		if err := b.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	for uid := range uint32(1000) {
		r := record(uid+1, m.GUID)
		want[2].(*RecordsEvent).Records = append(want[2].(*RecordsEvent).Records, r)
		if err := b.Record("a", r); err != nil {
			t.Fatal(err)
		}
	}
	entry := m.GUID.String() + ".eml"
	packed := Place{Chunk: sha256.Sum256([]byte("x")), Object: "packs/ab/abcd.tar.zst", Entry: entry}
	b.Place(Place{Chunk: m.Chunks[0], Object: ".", Entry: entry})
	b.Place(packed)
	b.Inline(entry, body)
	object, hash, err := b.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.put(LogKey(anne, 1), object)

	h, events, places, gotHash := readCommit(t, w.store, 1)
	header.Version = Version
	if d := cmp.Diff(header, h); d != "" {
		t.Errorf("header (-want +got)\n%s", d)
	}
	if len(events) != 4 || len(events[2].(*RecordsEvent).Records) != MaxRecordsPerEvent {
		t.Fatalf("%d events, the third with %d records", len(events), len(events[2].(*RecordsEvent).Records))
	}
	events[2].(*RecordsEvent).Records = append(events[2].(*RecordsEvent).Records, events[3].(*RecordsEvent).Records...)
	if d := cmp.Diff(want, events[:3], cmpopts.EquateEmpty()); d != "" {
		t.Errorf("events (-want +got)\n%s", d)
	}
	if gotHash != fmt.Sprintf("%x", hash) {
		t.Errorf("hash %s, the builder returned %x", gotHash, hash)
	}
	wantPlaces := []Place{{Chunk: m.Chunks[0], Object: LogKey(anne, 1), Entry: entry}, packed}
	if d := cmp.Diff(wantPlaces, places); d != "" {
		t.Errorf("places (-want +got)\n%s", d)
	}
	var ndjson, inline []byte
	if err := pack.Scan(bytes.NewReader(object), func(name string, _ int64, r io.Reader) (err error) {
		switch name {
		case commitEntry:
			ndjson, err = io.ReadAll(r)
		case entry:
			inline, err = io.ReadAll(r)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(inline, body) {
		t.Errorf("the body comes back as %d bytes, want %d", len(inline), len(body))
	}
	if sha256.Sum256(ndjson) != hash {
		t.Error("the hash does not match the uncompressed commit.ndjson")
	}
}

// After another writer won the number, the same events get the next one.
func TestReheader(t *testing.T) {
	w := newWriter(t)
	b := NewBuilder(w.header(), w.options())
	if err := b.Record("a", record(1, message(nil).GUID)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Finish(nil); err != nil {
		t.Fatal(err)
	}
	w.commit(mailbox("a", "user.anne"))
	b.Reheader(w.header())
	object, hash, err := b.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.put(LogKey(anne, 2), object)
	h, events, _, got := readCommit(t, w.store, 2)
	if h.Number != 2 || h.Prev != w.tip.Hash || len(events) != 1 || got != fmt.Sprintf("%x", hash) {
		t.Errorf("header %+v, %d events, hash %s", h, len(events), got)
	}
}

func TestBuilderErrors(t *testing.T) {
	w := newWriter(t)
	b := NewBuilder(w.header(), w.options())
	if err := b.Event(&RecordsEvent{Records: make([]*cyrus.Record, MaxRecordsPerEvent+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many records: %v", err)
	}
	if err := b.Event(&MessagesEvent{Messages: make([]Message, MaxMessagesPerEvent+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many messages: %v", err)
	}
	if err := b.Event(&MessagesEvent{Messages: []Message{{Missing: true}}}); err == nil {
		t.Error("a message without a guid was accepted, but no reader accepts it")
	}
	if err := b.Event(&AnnotationEvent{Name: strings.Repeat("a", maxLine)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a line of %d bytes: %v", maxLine, err)
	}
	if !b.Empty() || b.Size() != 0 {
		t.Error("the builder is not empty after errors")
	}
	b.Reheader(Header{Backup: anne})
	if _, _, err := b.Finish(nil); err == nil {
		t.Error("a commit without a number")
	}
}

// forge puts an object with these bytes as commit.ndjson and places.ndjson.
func (w *writer) forge(key, ndjson, places string) {
	w.t.Helper()
	p := pack.NewWriter(nil, w.options())
	err := p.Add(commitEntry, []byte(ndjson))
	if err == nil && places != "" {
		err = p.Add(placesEntry, []byte(places))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	object, err := p.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key, object)
}

func TestInvalidCommits(t *testing.T) {
	const header = `{"version":1,"backup":"user/anne","number":1,"prev":"","time":"2026-03-01T12:00:00Z"}` + "\n"
	const chunk = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	const entry = "2c26b46b68ffc68ff99b453c1d30413413422d70.eml"
	for _, tt := range []struct {
		name, ndjson, places string
		is                   error
		want                 string
	}{
		{"empty", "", "", ErrCorrupt, "is empty"},
		{"no newline", strings.TrimSpace(header), "", ErrCorrupt, "has no newline"},
		{"newer version", `{"version":4,"colour":"red"}` + "\n", "", ErrVersion, "format version 4, but this program reads versions up to 3"},
		{"no version", "{}\n", "", ErrCorrupt, "no version"},
		{"another backup", strings.Replace(header, "anne", "bob", 1), "", ErrCorrupt, "commit 1 of user/bob, not commit 1 of user/anne"},
		{"another number", strings.Replace(header, `"number":1`, `"number":2`, 1), "", ErrCorrupt, "commit 2 of user/anne, not commit 1"},
		{"unknown key", strings.Replace(header, `"prev"`, `"colour":1,"prev"`, 1), "", ErrCorrupt, "colour"},
		{"number 0", strings.Replace(header, `"number":1`, `"number":0`, 1), "", ErrCorrupt, "number 0"},
		{"bad event", header + "{\"event\":\"x\"}\n", "", ErrCorrupt, `line 2: damaged: x event: event: unknown event "x"`},
		{"cut event", header + "{\"event\":\"complete\"", "", ErrCorrupt, "line 2 has no newline"},
		{"place in another key", header, `{"chunk":"` + chunk + `","object":"repository.json","entry":"` + entry + `"}` + "\n", ErrCorrupt, `in object "repository.json"`},
		{"place above", header, `{"chunk":"` + chunk + `","object":"packs/../x.tar.zst","entry":"` + entry + `"}` + "\n", ErrCorrupt, "in object"},
		{"place in no body", header, `{"chunk":"` + chunk + `","object":".","entry":"commit.ndjson"}` + "\n", ErrCorrupt, `in entry "commit.ndjson"`},
		{"erased at no time", header, `{"chunk":"` + chunk + `","object":"erased","entry":"yesterday"}` + "\n", ErrCorrupt, `erased at "yesterday"`},
		{"place of no chunk", header, `{"chunk":"AB","object":".","entry":"` + entry + `"}` + "\n", ErrCorrupt, "64 lower-case hex"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWriter(t)
			w.forge(LogKey(anne, 1), tt.ndjson, tt.places)
			err := ReadCommit(t.Context(), w.store, anne, 1, func(c *CommitReader) error {
				for _, err := range c.Events() {
					if err != nil {
						return err
					}
				}
				for _, err := range c.Places() {
					if err != nil {
						return err
					}
				}
				return nil
			})
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), LogKey(anne, 1)) {
				t.Errorf("have error %v, want one with %q that names the object", err, tt.want)
			}
		})
	}
}

func TestReadHeaderOfMissingCommit(t *testing.T) {
	if _, err := ReadHeader(t.Context(), newWriter(t).store, anne, 7); !errors.Is(err, objstore.ErrNotExist) {
		t.Error(err)
	}
}
