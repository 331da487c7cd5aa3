package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A message is erased in the middle of weeks of nights: packs are rewritten and merged, checkpoints get the places of today,
// and retention removes the log. Meanwhile, every moment has all other messages, the erased one is nowhere, and
// nothing counts as damage. Then the user is drilled, exported, moved, and loses a part of the history.
func TestNightsAfterErasedMessage(t *testing.T) {
	const conf, secret = "backup_retention: 4d\nbackup_keep_weekly: 3\nbackup_tripwire: no\n", "SECRET-9d1e"
	w := tooltest.New(t, "default", "cold")
	bob, carl := tooltest.NewMailbox("user.bob"), tooltest.NewMailbox("user.carl")
	doomed, erased, places := "", false, 0
	for day := range 26 {
		for _, box := range []*tooltest.Mailbox{bob, carl} {
			box.Deliver(tooltest.Mail(fmt.Sprint(box.Name, " message ", day), "carol@example.org", 300), w.Now)
			if box == bob && day == 8 {
				doomed = box.Deliver(tooltest.Mail(secret, "carol@example.org", 300), w.Now).GUID.String()
			}
			if box == bob && day == 11 {
				box.Expunge(10)
			}
			w.Sync(box)
		}
		if day == 14 {
			before := restorable(t, w.Stores[0], doomed)
			if out, err := toolWith(t, w, conf, "erase", "bob", "--yes", "--reason", "request", "--message", doomed); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if erased = true; before == 0 {
				t.Fatal("no moment had the message: this test covers nothing")
			}
		}
		w.Now = w.Now.Add(25 * time.Hour)
		lines := ofPlaces(nightly(t, w, conf))
		if erased {
			places += len(lines)
		}
		if !erased || day%4 > 0 {
			continue
		}
		if n := restorable(t, w.Stores[0], doomed); n > 0 {
			t.Errorf("day %d: %d moments have the message", day, n)
		}
	}
	if places == 0 {
		t.Error("no checkpoint got the places of today: this test no longer covers its case")
	}
	if in := containing(w.Stores[0], secret); len(in) > 0 {
		t.Errorf("the message is in %q", in)
	}
	for _, argv := range [][]string{{"verify", "-A"}, {"drill", "-A", "--scratch", t.TempDir()}, {"stat", "-A"}, {"export", "bob", t.TempDir()}, {"set-aside", "carl"},
		{"verify", "--repair", "bob"}, {"erase", "bob", "--yes", "--reason", "old", "--before", w.Now.Add(-20 * 24 * time.Hour).Format(time.DateOnly)}} {
		if out, err := toolWith(t, w, conf, argv...); err != nil {
			t.Errorf("%q: %v: %s", argv, err, out)
		}
	}
	for range 2 {
		w.Now = w.Now.Add(25 * time.Hour)
		nightly(t, w, conf)
		restorable(t, w.Stores[0], doomed)
	}
	if out, err := toolWith(t, w, conf, "move", "bob", "cold"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if n := restorable(t, w.Stores[1], doomed); n > 0 {
		t.Errorf("after the move, %d moments have the message", n)
	}
	if in := append(containing(w.Stores[0], secret), containing(w.Stores[1], secret)...); len(in) > 0 {
		t.Errorf("the message is in %q", in)
	}
}

// restorable reads every message of bob at each kept moment, and returns how many moments have the body of one of them.
// All other messages must be there.
func restorable(t *testing.T, s *memstore.Store, guid string) (moments int) {
	t.Helper()
	log := &history.Log{Store: s, Backup: "user/bob"}
	numbers, err := log.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	objects := history.NewObjects(s, 0)
	for _, n := range append(numbers, 0) {
		m, err := history.Load(t.Context(), s, "user/bob", history.Moment{Number: n})
		if err != nil {
			t.Fatal(err)
		}
		for msg, err := range m.Messages() {
			if err == nil {
				msg, err = m.Message(msg.GUID)
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := history.OpenMessage(t.Context(), objects, msg, m.Places)
			if err == nil {
				_, err = io.Copy(io.Discard, body)
				err = errors.Join(err, body.Close())
			}
			is := msg.GUID.String() == guid
			if err == nil && is {
				moments++
			}
			if err != nil && !(is && errors.As(err, new(*history.ErasedError))) {
				t.Errorf("commit %d: message %s: %v", n, msg.GUID, err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return moments
}

// containing returns the keys of objects that have a text, also compressed.
func containing(s *memstore.Store, text string) (keys []string) {
	for _, key := range s.Keys("") {
		b := s.Bytes(key)
		d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
		if err != nil {
			continue
		}
		plain, _ := io.ReadAll(d) // up to the first byte that is not compressed
		d.Close()
		if bytes.Contains(b, []byte(text)) || bytes.Contains(plain, []byte(text)) {
			keys = append(keys, key)
		}
	}
	return slices.Compact(keys)
}
