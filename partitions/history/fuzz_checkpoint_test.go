package history

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// fuzzedBlocks are the blocks of the seed that the input replaces, by kind.
type fuzzedBlocks map[string]string // kind → SHA-256 in the seed

// checkpointSeed returns the checkpoint of the golden repository, and a block of each kind.
func checkpointSeed(f *testing.F) (state, places []byte, blocks map[string][]byte, seeds fuzzedBlocks) {
	w := readTree(f, golden)
	blocks, seeds = map[string][]byte{}, fuzzedBlocks{}
	for _, key := range w.keys() {
		switch {
		case strings.HasPrefix(key, CheckpointPrefix(anne)):
			parts := w.partsOf(key)
			state, places = parts[0].body, parts[1].body
		case strings.HasPrefix(key, RecordsPrefix(anne)):
			for _, p := range w.partsOf(key) {
				sum, kind, _ := strings.Cut(p.name, ".")
				if bytes.Contains(state, []byte(sum)) || bytes.Contains(places, []byte(sum)) {
					blocks[kind], seeds[kind] = p.body, sum
				}
			}
		}
	}
	if len(blocks) != 3 {
		f.Fatalf("the golden repository has no block of each kind: %v", seeds)
	}
	return state, places, blocks, seeds
}

// negativeCounts makes the counts of messages and places negative, and their sums too.
func negativeCounts(lines []byte) []byte {
	block := regexp.MustCompile(`("(?:messages|places)":[^\n]*"count":)(\d+)`)
	sum := regexp.MustCompile(`("messages":)(\d+)(,"items")`)
	return sum.ReplaceAll(block.ReplaceAll(lines, []byte("$1-$2")), []byte("$1-$2$3"))
}

// FuzzCheckpoint reads a checkpoint and its blocks. The hash of a block follows the input in the lines that name it.
func FuzzCheckpoint(f *testing.F) {
	objects := goldenObjects(f)
	state, places, blocks, seeds := checkpointSeed(f)
	f.Add(state, places, blocks[recordBlocks], blocks[messageBlocks], blocks[placeBlocks])
	f.Add(state, []byte(nil), blocks[recordBlocks], blocks[messageBlocks], blocks[placeBlocks])
	f.Add(state, negativeCounts(places), blocks[recordBlocks], blocks[messageBlocks], blocks[placeBlocks])
	f.Add(negativeCounts(state), places, blocks[recordBlocks], blocks[messageBlocks], blocks[placeBlocks])
	f.Add(state, bytes.ReplaceAll(places, []byte("backups/user/anne/records/"), []byte("backups//records/\\u0001")), blocks[recordBlocks], blocks[messageBlocks], blocks[placeBlocks])
	f.Fuzz(func(t *testing.T, state, places, records, messages, chunks []byte) {
		fuzztest.Within(t, fuzzLimit(state, places, records, messages, chunks), func() {
			w := hostileWriter(t, objects)
			object := w.container(part{hexSHA256(records) + "." + recordBlocks, records},
				part{hexSHA256(messages) + "." + messageBlocks, messages}, part{hexSHA256(chunks) + "." + placeBlocks, chunks})
			key := RecordsPrefix(anne) + hexSHA256(object) + objectSuffix
			w.put(key, object)
			for kind, b := range map[string][]byte{recordBlocks: records, messageBlocks: messages, placeBlocks: chunks} {
				old, now := []byte(seeds[kind]), []byte(hexSHA256(b))
				state, places = bytes.ReplaceAll(state, old, now), bytes.ReplaceAll(places, old, now)
			}
			for old := range objects {
				places = bytes.ReplaceAll(places, []byte(old), []byte(key))
			}
			w.put(CheckpointKey(anne, 6), w.container(part{stateEntry, state}, part{placesEntry, places}))
			w.tryCheckpoint(6)
		})
	})
}

// tryCheckpoint reads a checkpoint and all that it names.
func (w *writer) tryCheckpoint(n uint64) {
	w.t.Helper()
	key := CheckpointKey(anne, n)
	m, err := ReadCheckpoint(w.t.Context(), w.store, anne, n)
	if err != nil {
		checkDamage(w.t, err, key)
		return
	}
	defer m.Close()
	w.must(m.CheckBlocks(w.t.Context(), map[string]bool{}, func(object string, err error) { checkDamage(w.t, err, object) }))
	sound := w.tryReading(m)
	again, err := ReadCheckpoint(w.t.Context(), w.store, anne, n)
	w.must(err)
	defer again.Close()
	if sound {
		w.checkWritable(again)
	}
	w.tryState(Moment{})
	w.tryState(Moment{Tolerant: true})
}

// tryReading reads the whole state. It reports whether all of it can be read.
func (w *writer) tryReading(m *Mem) (sound bool) {
	w.t.Helper()
	sound = true
	note := func(err error) bool {
		if err != nil {
			checkDamage(w.t, err, "")
			sound = false
		}
		return err == nil
	}
	_, err := m.Message(cyrus.GUID{})
	note(err)
	_, err = m.Places(ChunkID{})
	note(err)
	for b := range m.Mailboxes() {
		for r, err := range m.Records(b.UniqueID, 0) {
			if note(err) {
				_, err = m.Record(b.UniqueID, r.UID)
				note(err)
			}
		}
	}
	for s, err := range m.Messages() {
		if note(err) {
			_, err = m.Message(s.GUID)
			note(err)
		}
	}
	for p, err := range m.AllPlaces() {
		if note(err) {
			_, err = m.Places(p.Chunk)
			note(err)
		}
	}
	return sound
}
