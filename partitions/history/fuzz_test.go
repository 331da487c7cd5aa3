package history

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// The fuzz targets make the entries of an object from their input, and the container around them, whose checksums no
// fuzzer finds. (objstore/pack has the targets for containers.)

// What a target may take: a Mem has buffers of some megabytes, and a byte of a line becomes some values.
const (
	fuzzBase    = 48 << 20
	fuzzPerByte = 2 << 10
	fuzzCalls   = 400
)

// fuzzLimit is the most memory for an input.
func fuzzLimit(input ...[]byte) int64 {
	n := int64(fuzzBase)
	for _, b := range input {
		n += fuzzPerByte * int64(len(b))
	}
	return n
}

// part is an entry of an object.
type part struct {
	name string
	body []byte
}

// container returns an object with these entries. Parts without a body are left out.
func (w *writer) container(parts ...part) []byte {
	w.t.Helper()
	p := pack.NewWriter(nil, w.options())
	for _, e := range parts {
		if len(e.body) > 0 {
			w.must(p.AddReader(e.name, int64(len(e.body)), bytes.NewReader(e.body)))
		}
	}
	object, err := p.Finish()
	w.must(err)
	return object
}

// partsOf returns the entries of an object.
func (w *writer) partsOf(key string) (parts []part) {
	w.t.Helper()
	w.must(pack.Scan(bytes.NewReader(w.get(key)), func(name string, _ int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		parts = append(parts, part{name, b})
		return err
	}))
	return parts
}

// goldenObjects returns the objects of the golden repository that commits and checkpoints refer to.
func goldenObjects(t testing.TB) map[string][]byte {
	w := readTree(t, golden)
	objects := map[string][]byte{}
	for _, key := range w.keys() {
		if strings.HasPrefix(key, "packs/") || strings.HasPrefix(key, "moved/") || strings.HasPrefix(key, RecordsPrefix(anne)) {
			objects[key] = w.get(key)
		}
	}
	return objects
}

// hostileWriter returns a writer whose store has these objects, and fails the test after too many requests.
func hostileWriter(t testing.TB, objects map[string][]byte) *writer {
	s := memstore.New(nil)
	w := newWriter(t)
	w.store = s
	for key, b := range objects {
		w.put(key, b)
	}
	calls := 0
	s.SetFaults(func(op, key string) error {
		if calls++; calls == fuzzCalls {
			t.Errorf("request %d: %s %s", calls, op, key)
		}
		return nil
	}, nil)
	return w
}

// firstLine returns the first line of a commit.ndjson with a number, after one with this hash.
func (w *writer) firstLine(after string) []byte {
	w.tip.Hash = after
	h := w.header()
	h.Version = versionLoss
	line, err := h.append(nil)
	w.must(err)
	return line
}

// eventLines returns the lines of a commit.ndjson after the first one.
func eventLines(ndjson []byte) []byte {
	_, rest, _ := bytes.Cut(ndjson, []byte("\n"))
	return rest
}

// checkDamage fails unless the error is damage, and names the object.
func checkDamage(t testing.TB, err error, key string) {
	t.Helper()
	if !IsDamage(err) && !errors.Is(err, ErrBeforeFirst) {
		t.Errorf("unexpected kind of error: %v", err)
	}
	if !strings.Contains(err.Error(), key) {
		t.Errorf("the error does not name %s: %v", key, err)
	}
}

// checkWritable writes a checkpoint of a state that was accepted, and reads it back: it must be the same state, of which
// every line can be read.
func (w *writer) checkWritable(m *Mem) {
	w.t.Helper()
	c, err := m.WriteCheckpoint(w.t.Context(), w.options())
	if err != nil {
		if !IsDamage(err) { // blocks are read only now
			w.t.Errorf("unexpected kind of error: %v", err)
		}
		return
	}
	again, err := ReadCheckpoint(w.t.Context(), w.store, m.Backup(), c.Number)
	w.must(err)
	defer again.Close()
	diff, err := again.Difference(m)
	if err != nil || diff != "" {
		w.t.Fatalf("the checkpoint differs: %s, %v", diff, err)
	}
	w.checkReadable(again)
}

// checkReadable reads the whole state, and finds what it has read.
func (w *writer) checkReadable(m *Mem) {
	w.t.Helper()
	for b, err := range m.Mailboxes() {
		w.must(err)
		for r, err := range m.Records(b.UniqueID, 0) {
			w.must(err)
			found, err := m.Record(b.UniqueID, r.UID)
			if err != nil || found == nil || found.UID != r.UID {
				w.t.Fatalf("record %d of %q: found %+v, %v", r.UID, b.UniqueID, found, err)
			}
		}
	}
	for s, err := range m.Messages() {
		w.must(err)
		if found, err := m.Message(s.GUID); err != nil || found == nil {
			w.t.Fatalf("message %s: found %+v, %v", s.GUID, found, err)
		}
	}
	for p, err := range m.AllPlaces() {
		w.must(err)
		if found, err := m.Places(p.Chunk); err != nil || len(found) == 0 {
			w.t.Fatalf("chunk %s: found %+v, %v", p.Chunk, found, err)
		}
	}
}

// tryState loads a state, and checks that it can be written, unless it is without records or commits.
func (w *writer) tryState(at Moment) {
	w.t.Helper()
	m, err := Load(w.t.Context(), w.store, anne, at)
	if err != nil {
		checkDamage(w.t, err, anne)
		return
	}
	defer m.Close()
	if len(m.Gaps()) == 0 && !at.Heads {
		w.checkWritable(m)
	}
}

// eventsOf parses the events of a commit, and checks that each has one form: it is parsed and written again.
func eventsOf(t testing.TB, c *CommitReader) error {
	t.Helper()
	for e, err := range c.Events() {
		if err != nil {
			return err
		}
		line, err := AppendEvent(nil, e)
		if err != nil {
			continue // a year after 9999
		}
		again, err := ParseEvent(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if second, err := AppendEvent(nil, again); err != nil || !bytes.Equal(line, second) {
			t.Fatalf("%s became %s, %v", line, second, err)
		}
	}
	return nil
}

// emlName returns the name of the entry of a message.
func emlName(body []byte) string { return fmt.Sprintf("%x.eml", sha1.Sum(body)) }

func hexSHA256(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
