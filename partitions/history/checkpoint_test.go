package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// fill makes a log with a large mailbox, small ones, messages and items.
func (w *writer) fill(large int) {
	w.t.Helper()
	for box := range 5 {
		id := fmt.Sprintf("small%d", box)
		w.commit(mailbox(id, "user.anne."+id), &RecordsEvent{UniqueID: id, Records: []*cyrus.Record{record(uint32(box)+1, message(text(box, 50)).GUID)}},
			&SubEvent{User: "anne", Name: "user.anne." + id, Subscribed: true})
	}
	b := NewBuilder(w.header(), w.options())
	w.must(b.Event(mailbox("large", "user.anne")))
	for n := 0; n < large; n += MaxMessagesPerEvent {
		e := &MessagesEvent{}
		for i := n; i < min(n+MaxMessagesPerEvent, large); i++ {
			m := message(text(i, 10))
			e.Messages = append(e.Messages, m)
			b.Place(Place{Chunk: m.Chunks[0], Object: "packs/ab/" + strings.Repeat("ab", 32) + ".tar.zst", Entry: m.GUID.String() + ".eml"})
		}
		w.must(b.Event(e))
	}
	for i := range large {
		w.must(b.Record("large", record(uint32(i)+1, message(text(i, 10)).GUID, `\Seen`)))
	}
	object, hash, err := b.Finish(nil)
	w.must(err)
	w.put(LogKey(anne, b.Header().Number), object)
	w.tip = Tip{Number: b.Header().Number, Hash: fmt.Sprintf("%x", hash), Time: b.Header().Time}
}

func (w *writer) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// checkpoint loads the newest state and writes it.
func (w *writer) checkpoint() *Mem {
	w.t.Helper()
	m := w.load(Moment{})
	_, err := m.WriteCheckpoint(w.t.Context(), w.options())
	w.must(err)
	return m
}

// entryOf returns the body of an entry of an object.
func entryOf(t *testing.T, s objstore.Store, key, name string) (body []byte) {
	t.Helper()
	err := pack.Scan(bytes.NewReader(getAll(t, s, key)), func(n string, _ int64, r io.Reader) (err error) {
		if n == name {
			body, err = io.ReadAll(r)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The state depends only on the log. Checkpoints in between change nothing except the hash
// of the previous checkpoint.
func TestSameLogSameState(t *testing.T) {
	states := map[string]bool{}
	for _, at := range [][]uint64{nil, {1}, {3, 6}, {6}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		w := newWriter(t)
		w.fill(5000)
		w.commit(&ExpungeEvent{UniqueID: "large", UIDs: []uint32{7, 4999}}, &PruneEvent{Before: noon})
		w.commit(&PruneEvent{Before: noon.AddDate(1, 0, 0)})
		w.commit(&RecordsEvent{UniqueID: "large", Records: []*cyrus.Record{record(9000, message(text(3, 10)).GUID)}})
		previous := ""
		for _, n := range append(at, w.tip.Number) {
			m := w.load(Moment{Number: n})
			c, err := m.WriteCheckpoint(t.Context(), w.options())
			w.must(err)
			if c.Previous != previous || c.Number != n || c != m.Checkpoint() {
				t.Errorf("checkpoint %d: %+v, want previous %q", n, c, previous)
			}
			previous = c.Hash
		}
		state := entryOf(t, w.store, CheckpointKey(anne, w.tip.Number), stateEntry)
		first, rest, _ := bytes.Cut(state, []byte("\n"))
		h, err := parseStateHeader(first)
		w.must(err)
		h.Previous = ""
		states[fmt.Sprint(h)+string(rest)] = true
		if bytes.Contains(state, []byte("records/")) {
			t.Error("the state names an object")
		}
	}
	if len(states) != 1 {
		t.Errorf("%d different states of one log", len(states))
	}
}

// After a small change, a checkpoint writes only the changed blocks.
func TestCheckpointWritesChangedBlocks(t *testing.T) {
	w := newWriter(t)
	w.fill(9000)
	first := w.checkpoint().Checkpoint()
	before := w.keys()
	r := record(777, message(text(776, 10)).GUID, `\Seen`, `\Flagged`)
	w.commit(&RecordsEvent{UniqueID: "large", Records: []*cyrus.Record{r}})
	second := w.checkpoint().Checkpoint()
	var fresh []string
	for _, k := range w.keys() {
		if !slices.Contains(before, k) {
			fresh = append(fresh, k)
		}
	}
	if len(fresh) != 3 || second.Bytes*2 > first.Bytes {
		t.Errorf("%d bytes after %d, new objects: %v", second.Bytes, first.Bytes, fresh)
	}
	// Without a change, another checkpoint writes the same state and no block.
	calls := trace(w)
	third := w.checkpoint().Checkpoint()
	puts := slices.DeleteFunc(*calls, func(c string) bool { return !strings.HasPrefix(c, "put") })
	if third.Hash != second.Hash || len(puts) != 1 {
		t.Errorf("hash %s after %s, %v", third.Hash, second.Hash, puts)
	}
}

// Each store call of WriteCheckpoint fails once. The checkpoint never names a missing
// block, and a second WriteCheckpoint of the same Mem succeeds.
func TestWriteCheckpointFailures(t *testing.T) {
	w := newWriter(t)
	w.fill(9000)
	w.checkpoint()
	w.commit(&ExpungeEvent{UniqueID: "large", UIDs: []uint32{5, 4500, 8500}}, &CompleteEvent{UniqueID: "small1"}, mailbox("new", "user.anne.new"))
	want := dumpMem(t, w.load(Moment{FromLog: true}))
	fails := func(n int, lost bool) (failed bool) {
		m := w.load(Moment{})
		fault := memstore.Nth(n, nil)
		if lost {
			w.store.(*memstore.Store).SetFaults(nil, fault)
		} else {
			w.store.(*memstore.Store).SetFaults(fault, nil)
		}
		_, err := m.WriteCheckpoint(t.Context(), w.options())
		w.store.(*memstore.Store).SetFaults(nil, nil)
		if err != nil && !errors.Is(err, memstore.ErrInjected) {
			t.Fatal(err)
		}
		if got := dumpMem(t, w.load(Moment{})); got != want {
			t.Fatalf("call %d failed: the state differs", n)
		}
		if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
			t.Fatalf("call %d failed: second attempt: %v", n, err)
		}
		if got := dumpMem(t, w.load(Moment{})); got != want {
			t.Fatalf("call %d failed: the state differs after the second attempt", n)
		}
		w.delete(CheckpointKey(anne, w.tip.Number))
		return err != nil
	}
	for _, lost := range []bool{false, true} {
		n := 1
		for fails(n, lost) {
			n++
		}
		if n < 3 {
			t.Errorf("only %d calls", n-1)
		}
	}
}

func TestMoments(t *testing.T) {
	w := newWriter(t)
	for n := range 12 {
		w.commit(mailbox("a", fmt.Sprintf("user.anne.%d", n+1)))
		if n == 3 || n == 7 {
			w.checkpoint()
		}
	}
	for _, tt := range []struct {
		at   Moment
		want uint64
		is   error
	}{
		{Moment{}, 12, nil}, {Moment{Number: 1}, 1, nil}, {Moment{Number: 4}, 4, nil}, {Moment{Number: 7}, 7, nil}, {Moment{Number: 8}, 8, nil},
		{Moment{Number: 9, FromLog: true}, 9, nil}, {Moment{Number: 13}, 0, ErrAbsent},
		{Moment{Time: noon.Add(time.Minute)}, 1, nil}, {Moment{Time: noon.Add(4 * time.Minute)}, 4, nil},
		{Moment{Time: noon.Add(9*time.Minute + time.Second)}, 9, nil}, {Moment{Time: noon.Add(8*time.Minute - time.Nanosecond)}, 7, nil},
		{Moment{Time: noon.Add(time.Hour)}, 12, nil}, {Moment{Time: noon}, 0, ErrBeforeFirst},
	} {
		m, err := Load(t.Context(), w.store, anne, tt.at)
		if !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.at, err)
		}
		if err != nil || tt.is != nil {
			continue
		}
		a, err := m.Mailbox("a")
		if err != nil || a.Name != fmt.Sprintf("user.anne.%d", tt.want) || m.Tip().Number != tt.want {
			t.Errorf("%s: commit %d, %v, %v", tt.at, m.Tip().Number, a, err)
		}
	}
	// Retention has removed the first commits: there is no state before the first checkpoint.
	for n := range uint64(4) {
		w.delete(LogKey(anne, n+1))
	}
	for _, at := range []Moment{{Number: 6}, {Number: 6, FromLog: true}} {
		if m := w.load(at); m.Tip().Number != 6 {
			t.Error(m.Tip())
		}
	}
	for _, at := range []Moment{{Number: 2}, {Time: noon.Add(2 * time.Minute)}, {Number: 2, FromLog: true}} {
		if _, err := Load(t.Context(), w.store, anne, at); !errors.Is(err, ErrBeforeFirst) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if _, err := Load(t.Context(), w.store, "user/bob", Moment{}); !errors.Is(err, ErrBeforeFirst) {
		t.Errorf("a backup without a log: %v", err)
	}
}

func TestDue(t *testing.T) {
	for _, tt := range []struct {
		objects       int
		log, rewrites int64
		want          bool
	}{{0, 0, 0, false}, {1, 10, 100, false}, {255, 101, 100, false}, {256, 99, 100, false}, {256, 100, 100, true}, {2047, 5, 1 << 40, false}, {2048, 0, 1 << 40, true},
		{1, 1 << 24, 1 << 24, true}, {1, 1<<24 - 1, 0, false}, {9, 1 << 24, 1<<24 + 1, false}} {
		if got := Due(tt.objects, 256, tt.log, tt.rewrites); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}

// Flip a byte of any object, or cut it, at many offsets: Load must return an error that
// names the object, or the right state.
func TestDamagedObjects(t *testing.T) {
	w := newWriter(t)
	w.fill(100)
	w.checkpoint()
	b := NewRecordBlockWriter(w.store, anne, w.options())
	for uid := range uint32(20) {
		w.must(b.Add(t.Context(), record(uid+5000, message(text(int(uid), 10)).GUID)))
	}
	refs, err := b.Finish(t.Context())
	w.must(err)
	w.commit(&RecordBlocksEvent{UniqueID: "large", Blocks: refs})
	w.commit(&CompleteEvent{UniqueID: "large"})
	w.merge(1, 4, nil)
	want, err := tryDump(t, w, Moment{})
	w.must(err)
	steps := 12
	if raceEnabled {
		steps = 4
	}
	for _, at := range []Moment{{}, {FromLog: true}} {
		seen := map[string]int{}
		for _, key := range w.keys() {
			good := w.get(key)
			for i := 0; i < len(good); i += 1 + len(good)/steps {
				for _, bad := range [][]byte{flip(good, i), good[:i]} {
					w.put(key, bad)
					got, err := tryDump(t, w, at)
					if err != nil {
						seen[key]++
						if !strings.Contains(err.Error(), key) {
							t.Errorf("%s, %s damaged at %d: the error does not name the object: %v", at, key, i, err)
						}
					} else if got != want {
						t.Errorf("%s, %s damaged at %d of %d: a wrong state, and no error", at, key, i, len(good))
					}
				}
			}
			w.put(key, good)
		}
		if len(seen) < 3 {
			t.Errorf("%s: damage was found only in %v", at, seen)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 0x41
	return b
}

// tryDump reads a whole state, including places.
func tryDump(t *testing.T, w *writer, at Moment) (out string, err error) {
	m, err := Load(t.Context(), w.store, anne, at)
	if err != nil {
		return "", err
	}
	for p, err := range m.AllPlaces() {
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(p.Object, "packs/") { // a merge changes the key of a commit
			out += string(p.append(nil))
		}
	}
	for _, err := range m.Messages() {
		if err != nil {
			return "", err
		}
	}
	for b, err := range m.Mailboxes() {
		if err != nil {
			return "", err
		}
		for _, err := range m.Records(b.UniqueID, 0) {
			if err != nil {
				return "", err
			}
		}
	}
	return out + dumpMem(t, m), nil
}
