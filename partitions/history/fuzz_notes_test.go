package history

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// The keys of the packs in FuzzMoved.
var (
	fuzzPack  = PackKey([32]byte{1})
	fuzzOther = PackKey([32]byte{2})
)

// noteSeeds returns the notes of the golden repository, about fuzzPack.
func noteSeeds(f *testing.F) (notes [][]byte) {
	files, err := filepath.Glob(golden + "/moved/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		sum := strings.TrimSuffix(filepath.Base(name), ".json")
		notes = append(notes, bytes.ReplaceAll(b, []byte("packs/"+sum[:2]+"/"+sum+objectSuffix), []byte(fuzzPack)))
	}
	return append(notes, []byte(`{"version":1,"pack":"`+fuzzPack+`","time":"2026-03-01T12:00:00Z","entries":{},"unused":true}`))
}

// FuzzMoved reads a note about a pack, and follows it: a second pack has the same note, so that a note can lead to itself.
func FuzzMoved(f *testing.F) {
	for _, b := range noteSeeds(f) {
		f.Add(b)
		f.Add(bytes.ReplaceAll(b, []byte("packs/c3"), []byte("backups/user/bob/log"))) // a place outside packs
	}
	f.Fuzz(func(t *testing.T, note []byte) {
		fuzztest.Within(t, fuzzLimit(note), func() {
			w := hostileWriter(t, nil)
			key, _ := MovedKey(fuzzPack)
			other, _ := MovedKey(fuzzOther)
			w.put(key, note)
			w.put(other, bytes.ReplaceAll(note, []byte(fuzzPack), []byte(fuzzOther)))
			m, _, err := ReadMoved(t.Context(), w.store, fuzzPack)
			if err != nil {
				checkDamage(t, err, key)
				return
			}
			var again []byte
			if again, err = m.Append(nil); err != nil {
				return // a year after 9999
			}
			w.put(key, again)
			second, _, err := ReadMoved(t.Context(), w.store, fuzzPack)
			if err != nil || toJSON(t, second) != toJSON(t, m) || second.NothingLost() != m.NothingLost() {
				t.Fatalf("%s became %s, %v", toJSON(t, m), toJSON(t, second), err)
			}
			w.followNote(m)
		})
	})
}

// followNote asks for the places of the entries of a note. Each is in a pack or a log.
func (w *writer) followNote(m *Moved) {
	w.t.Helper()
	o := NewObjects(w.store, 0)
	n := 0
	for entry := range m.Entries {
		if n++; n > 16 {
			return
		}
		for _, pack := range []string{fuzzPack, fuzzOther} {
			p := Place{Object: pack, Entry: entry}
			now, err := ResolvePlace(w.t.Context(), w.store, p)
			if err == nil && now.check() != nil {
				w.t.Fatalf("%s leads to %+v", pack, now)
			}
			if err != nil && !IsDamage(err) {
				w.t.Fatalf("unexpected kind of error: %v", err)
			}
			if _, _, err := o.Entry(w.t.Context(), p); err == nil || !IsDamage(err) {
				w.t.Fatalf("entry of a pack that does not exist: %v", err)
			}
		}
	}
}

// FuzzCondemned reads condemned.json.
func FuzzCondemned(f *testing.F) {
	b, err := os.ReadFile(golden + "/" + CondemnedKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, list []byte) {
		fuzztest.Within(t, fuzzLimit(list), func() {
			w := hostileWriter(t, nil)
			w.put(CondemnedKey, list)
			c, _, err := ReadCondemned(t.Context(), w.store)
			if err != nil {
				checkDamage(t, err, CondemnedKey)
				return
			}
			for _, p := range c.Packs {
				if !c.Has(p.Key) {
					t.Fatalf("%q is not found", p.Key)
				}
			}
			again, err := c.Append(nil)
			if err != nil {
				return // a year after 9999
			}
			w.put(CondemnedKey, again)
			second, _, err := ReadCondemned(t.Context(), w.store)
			if err != nil || len(second.Packs) != len(c.Packs) || second.Version != c.Version {
				t.Fatalf("%+v became %+v, %v", c, second, err)
			}
		})
	})
}

// FuzzKeys parses the keys of a bucket, which somebody else may have chosen.
func FuzzKeys(f *testing.F) {
	for _, key := range []string{LogKey(anne, 7), SegmentKey(anne, 1, 7), CheckpointKey(anne, 7), RecordsKey(anne, [32]byte{1}), CopyingKey(anne, 7), fuzzPack,
		"backups/log/0000000000000001" + objectSuffix, "packs//" + objectSuffix} {
		f.Add(anne, key)
	}
	f.Fuzz(func(t *testing.T, backup, key string) {
		if from, to, ok := ParseLogKey(backup, key); ok && key != LogKey(backup, from) && key != SegmentKey(backup, from, to) {
			t.Errorf("%q was read as commits %d to %d", key, from, to)
		}
		if n, ok := ParseCheckpointKey(backup, key); ok && key != CheckpointKey(backup, n) {
			t.Errorf("%q was read as checkpoint %d", key, n)
		}
		if n, ok := ParseCopyingKey(backup, key); ok && key != CopyingKey(backup, n) {
			t.Errorf("%q was read as a copy up to commit %d", key, n)
		}
		if b, n, ok := parseAnyLogKey(key); ok {
			if from, _, ok := ParseLogKey(b, key); !ok || from != n {
				t.Errorf("%q was read as commit %d of %s", key, n, b)
			}
		}
		if note, ok := MovedKey(key); ok && (!strings.HasPrefix(note, "moved/") || !strings.HasPrefix(key, "packs/")) {
			t.Errorf("%q has the note %q", key, note)
		}
	})
}
