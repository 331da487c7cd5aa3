package history

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// commitSeeds calls add with the events, the places and a body of each commit of the golden repository.
func commitSeeds(f *testing.F, add func(events, places, body []byte)) {
	w := readTree(f, golden)
	for _, key := range w.keys() {
		if !strings.HasPrefix(key, LogPrefix(anne)) {
			continue
		}
		var events, places, body []byte
		for _, p := range w.partsOf(key) {
			switch name := p.name[strings.LastIndex(p.name, "/")+1:]; name {
			case commitEntry:
				if events != nil {
					add(events, places, body)
				}
				events, places, body = eventLines(p.body), nil, nil
			case placesEntry:
				places = p.body
			default:
				body = p.body
			}
		}
		add(events, places, body)
	}
	add([]byte(`{"event":"bridged","lost":[{"from":4,"to":4,"reason":"missing"}]}`+"\n"), nil, nil)
	add([]byte(`{"event":"lost","messages":["`+strings.Repeat("0a", 20)+`"]}`+"\n"), nil, nil)
}

// FuzzCommit reads a commit in all ways: as a stream, whole, as a part of a log, and as damage that is repaired.
func FuzzCommit(f *testing.F) {
	objects := goldenObjects(f)
	commitSeeds(f, func(events, places, body []byte) { f.Add(events, places, body) })
	f.Fuzz(func(t *testing.T, events, places, body []byte) {
		fuzztest.Within(t, fuzzLimit(events, places, body), func() {
			w := hostileWriter(t, objects)
			key := LogKey(anne, 1)
			ndjson := append(w.firstLine(""), events...)
			object := w.container(part{commitEntry, ndjson}, part{placesEntry, places}, part{emlName(body), body})
			w.put(key, object)
			sound := w.checkCommit(key, hexSHA256(ndjson))
			w.checkSalvage(key, object, hexSHA256(ndjson), sound)
			w.tryState(Moment{Tolerant: true})
			w.tryState(Moment{Heads: true})
		})
	})
}

// checkCommit reads commit 1 as a stream and whole. It reports whether it is sound.
func (w *writer) checkCommit(key, hash string) bool {
	w.t.Helper()
	err := ReadCommit(w.t.Context(), w.store, anne, 1, func(c *CommitReader) error {
		if err := eventsOf(w.t, c); err != nil {
			return err
		}
		for _, err := range c.Places() {
			if err != nil {
				return err
			}
		}
		got, err := c.Hash()
		if err == nil && got != hash {
			w.t.Fatalf("hash %s, want %s", got, hash)
		}
		return err
	})
	if err != nil {
		checkDamage(w.t, err, key)
	}
	whole, werr := ReadWhole(w.t.Context(), w.store, anne, 1, 64<<20)
	switch {
	case werr != nil:
		checkDamage(w.t, werr, key)
	case err != nil || whole.Hash != hash:
		w.t.Fatalf("read whole with hash %s, want %s; as a stream: %v", whole.Hash, hash, err)
	}
	return err == nil
}

// checkSalvage rebuilds the object, from its directory and without it. It keeps the events.
func (w *writer) checkSalvage(key string, object []byte, hash string, sound bool) {
	w.t.Helper()
	for _, o := range [][]byte{object, object[:len(object)-1]} {
		rebuilt, lost, err := SalvageCommit(bytes.NewReader(o), int64(len(o)), anne, 1, pack.Options{Random: w})
		if err != nil {
			checkDamage(w.t, err, key)
			if sound {
				w.t.Fatalf("a sound commit cannot be salvaged: %v", err)
			}
			continue
		}
		if len(lost) > 0 {
			w.t.Fatalf("lost %q of a sound container", lost)
		}
		again := newWriter(w.t)
		again.put(key, rebuilt)
		if !again.checkCommit(key, hash) {
			w.t.Fatal("the salvaged commit is damaged")
		}
	}
}

// FuzzSegment reads a segment of two commits, and compares it with the two commits.
func FuzzSegment(f *testing.F) {
	objects := goldenObjects(f)
	var before [2][]byte
	commitSeeds(f, func(events, places, _ []byte) {
		f.Add(events, places, before[0], before[1], uint8(1))
		before = [2][]byte{events, places}
	})
	f.Fuzz(func(t *testing.T, events1, places1, events2, places2 []byte, second uint8) {
		fuzztest.Within(t, fuzzLimit(events1, places1, events2, places2), func() {
			w := hostileWriter(t, objects)
			first := append(w.firstLine(""), events1...)
			w.tip.Number = 1
			next := append(w.firstLine(hexSHA256(first)), events2...)
			n := 1 + uint64(second%4) // 2 is the right one
			entries := []part{{segmentEntry(1, commitEntry), first}, {segmentEntry(1, placesEntry), places1}}
			if n > 1 {
				entries = append(entries, part{segmentEntry(n, commitEntry), next}, part{segmentEntry(n, placesEntry), places2})
			}
			key := SegmentKey(anne, 1, 2)
			w.put(key, w.container(entries...))
			w.checkSegment(key, [][]byte{first, next})
			w.tryState(Moment{})
			w.tryState(Moment{Tolerant: true})
		})
	})
}

// checkSegment compares the commits of the segment 1 … 2 with these.
func (w *writer) checkSegment(key string, want [][]byte) {
	w.t.Helper()
	n := 0
	for c, err := range ReadSegment(w.t.Context(), w.store, anne, 1, 2) {
		if err != nil {
			checkDamage(w.t, err, key)
			return
		}
		err = eventsOf(w.t, c)
		hash, herr := c.Hash()
		if err != nil {
			checkDamage(w.t, err, key)
			return
		}
		if herr != nil || n == len(want) || hash != hexSHA256(want[n]) {
			w.t.Fatalf("commit %d with hash %s, %v", c.Header().Number, hash, herr)
		}
		for _, err := range c.Places() {
			if err != nil {
				checkDamage(w.t, err, key)
				return
			}
		}
		n++
	}
	if n != len(want) {
		w.t.Fatalf("%d commits without an error", n)
	}
}
