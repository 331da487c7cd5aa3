package partitions

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// records is what a State should have.
type records map[string]map[uint32]*history.RecordState

func (m records) sorted(uniqueid string, from uint32) (out []*history.RecordState) {
	for _, uid := range slices.Sorted(maps.Keys(m[uniqueid])) {
		if uid >= from {
			out = append(out, m[uniqueid][uid])
		}
	}
	return out
}

func (m records) clone() records {
	out := records{}
	for u, r := range m {
		out[u] = maps.Clone(r)
	}
	return out
}

var anyMailbox = rapid.SampledFrom([]string{"a", "ab"})

// anyUID returns uids in few blocks, and at both ends.
var anyUID = rapid.OneOf(rapid.Uint32Range(1, 100), rapid.Uint32Range(4000, 4100), rapid.Uint32Range(math.MaxUint32-40, math.MaxUint32))

func anyRecord(t *rapid.T) *history.RecordState {
	r := &history.RecordState{Commit: rapid.Uint64Range(1, 9).Draw(t, "commit")}
	r.UID, r.ModSeq = anyUID.Draw(t, "uid"), rapid.Uint64().Draw(t, "modseq")
	if rapid.IntRange(0, 4).Draw(t, "long") == 0 {
		v := strings.Repeat("x", rapid.IntRange(900, 5000).Draw(t, "length"))
		r.Annotations = []cyrus.Annotation{{Entry: "/comment", Value: &v}}
	}
	if rapid.Bool().Draw(t, "flag") {
		r.Flags = []string{`\Seen`, "keyword"}
	}
	return r
}

// A State reads the records that were written, in the same transaction and later, in blocks and outside
// them, also if a transaction fails.
func TestRecordsOfState(t *testing.T) {
	w := newRebuilt(t, 0, false)
	defer w.close(t)
	id := uint64(1000)
	boom := errors.New("boom")
	rapid.Check(t, func(t *rapid.T) {
		id++
		have := records{}
		for range rapid.IntRange(1, 4).Draw(t, "transactions") {
			next := have.clone()
			fail := rapid.IntRange(0, 5).Draw(t, "fails") == 0
			err := w.index.Update(func(txn *index.Txn) error {
				st := &State{set: w.set, t: txn, id: id, path: "user/anne", part: w.set.parts[0]}
				for range rapid.IntRange(0, 60).Draw(t, "steps") {
					stepOfRecords(t, st, next)
				}
				if fail {
					return boom
				}
				return st.flush()
			})
			switch {
			case fail && errors.Is(err, boom):
			case err != nil:
				t.Fatal(err)
			default:
				have = next
			}
			err = w.index.View(func(txn *index.Txn) error {
				st := &State{set: w.set, t: txn, id: id, path: "user/anne", part: w.set.parts[0]}
				for _, u := range []string{"a", "ab"} {
					sameRecords(t, have.sorted(u, 0), st, u, 0)
					sameSome(t, st, have, u)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func stepOfRecords(t *rapid.T, st *State, have records) {
	u := anyMailbox.Draw(t, "mailbox")
	if have[u] == nil {
		have[u] = map[uint32]*history.RecordState{}
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0:
		uid := anyUID.Draw(t, "uid")
		check(st.DropRecord(u, uid))
		delete(have[u], uid)
	case 1:
		uid := anyUID.Draw(t, "uid")
		got, err := st.Record(u, uid)
		check(err)
		sameRecord(t, got, have[u][uid])
	case 2:
		from := anyUID.Draw(t, "from")
		sameRecords(t, have.sorted(u, from), st, u, from)
	case 3:
		sameSome(t, st, have, u)
	case 4:
		changeAll(t, st, have[u], u)
	case 5:
		if rapid.IntRange(0, 5).Draw(t, "all") == 0 {
			check(st.dropRecords(u))
			clear(have[u])
		}
	default:
		r := anyRecord(t)
		check(st.PutRecord(u, r))
		have[u][r.UID] = r
	}
}

// changeAll changes, drops, or leaves records while it ranges over them.
func changeAll(t *rapid.T, st *State, have map[uint32]*history.RecordState, u string) {
	for r, err := range st.Records(u, 0) {
		if err != nil {
			t.Fatal(err)
		}
		sameRecord(t, r, have[r.UID])
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			n := anyRecord(t)
			n.UID = r.UID
			err = st.PutRecord(u, n)
			have[r.UID] = n
		case 1:
			err = st.DropRecord(u, r.UID)
			delete(have, r.UID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sameSome(t *rapid.T, st *State, have records, u string) {
	uids := rapid.SliceOfN(anyUID, 0, 60).Draw(t, "uids")
	slices.Sort(uids)
	uids = slices.Compact(uids)
	got := map[uint32]bool{}
	err := st.EachRecord(u, uids, func(i int, r *history.RecordState) error {
		got[uids[i]] = true
		sameRecord(t, r, have[u][uids[i]])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range uids {
		if have[u][uid] != nil && !got[uid] {
			t.Fatalf("uid %d was not read", uid)
		}
	}
}

func sameRecords(t *rapid.T, want []*history.RecordState, st *State, u string, from uint32) {
	for r, err := range st.Records(u, from) {
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			t.Fatalf("uid %d should not be there", r.UID)
		}
		sameRecord(t, r, want[0])
		want = want[1:]
	}
	if len(want) > 0 {
		t.Fatalf("uid %d is missing", want[0].UID)
	}
}

func sameRecord(t *rapid.T, got, want *history.RecordState) {
	if got == nil && want == nil {
		return
	}
	if got == nil || want == nil {
		t.Fatalf("got %v, want %v", got, want)
	}
	if got.UID != want.UID || got.Commit != want.Commit || !got.Record.Equal(&want.Record) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// A record of any size fits the index: it has a separate key, which goes with the record.
func TestLongRecordsHaveKeys(t *testing.T) {
	w := newRebuilt(t, 0, false)
	defer w.close(t)
	in := func(fn func(st *State) error) {
		t.Helper()
		err := w.index.UpdateLong(func(txn *index.Txn) error {
			return fn(&State{set: w.set, t: txn, id: 7, path: "user/anne", part: w.set.parts[0]})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(size int) {
		t.Helper()
		in(func(st *State) error {
			for uid := range uint32(64) {
				v := strings.Repeat("x", size)
				r := &history.RecordState{Record: cyrus.Record{UID: uid, Annotations: []cyrus.Annotation{{Entry: "/comment", Value: &v}}}}
				if err := st.PutRecord("u", r); err != nil {
					return err
				}
			}
			return st.flush()
		})
	}
	expect := func(keys, largest int) {
		t.Helper()
		in(func(st *State) error {
			n, most := 0, 0
			for kv, err := range st.t.Range(index.RecordPrefix(7, "u"), nil) {
				if err != nil {
					return err
				}
				n, most = n+1, max(most, len(kv.Value))
			}
			if n != keys || most > largest {
				t.Errorf("%d keys, the largest value has %d bytes; want %d and at most %d", n, most, keys, largest)
			}
			return nil
		})
	}
	put(500)
	expect(2, 40_000)
	put(100_000)
	expect(66, 101_000)
	put(500)
	expect(2, 40_000)
	put(100_000)
	in(func(st *State) error { return st.dropRecords("u") })
	expect(0, 0)
}

// The records of a mailbox are read without an allocation for each.
func TestRecordsAllocateLittle(t *testing.T) {
	w := newRebuilt(t, 0, false)
	defer w.close(t)
	const n = 32 * 100
	var uids []uint32
	err := w.index.Update(func(txn *index.Txn) error {
		st := &State{set: w.set, t: txn, id: 7, path: "user/anne", part: w.set.parts[0]}
		for i := range uint32(n) {
			r := &history.RecordState{Record: cyrus.Record{UID: i, Flags: []string{`\Seen`}}}
			if err := st.PutRecord("u", r); err != nil {
				return err
			}
			uids = append(uids, i)
		}
		return st.flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	view := func(fn func(st *State) error) float64 {
		return testing.AllocsPerRun(5, func() {
			err := w.index.View(func(txn *index.Txn) error {
				return fn(&State{set: w.set, t: txn, id: 7, path: "user/anne", part: w.set.parts[0]})
			})
			if err != nil {
				t.Error(err)
			}
		}) / n
	}
	all := view(func(st *State) error {
		for _, err := range st.Records("u", 0) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	some := view(func(st *State) error {
		return st.EachRecord("u", uids, func(int, *history.RecordState) error { return nil })
	})
	if all > 0.3 || some > 0.1 {
		t.Errorf("%.2f allocations per record, %.2f if it is valid only briefly", all, some)
	}
}
