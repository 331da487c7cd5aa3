package erasure_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// arrival is mail that arrives while carl's first message is erased, which has the pieces a and b.
type arrival struct {
	*letters
	one, arrived cyrus.GUID
	number       uint64 // the commit with which it has arrived
	refused      bool   // the erasure
	again        bool   // it could end only after the mail had been merged
}

var pieceA, pieceB = []byte("PIECE-a1 of two"), []byte("PIECE-b2 of two")

// newArrival is a user with a deleted message in old commits and a checkpoint, and with other mail.
func newArrival(t *testing.T) *arrival {
	w := &arrival{letters: newLetters(t)}
	w.one = w.pieces("carl", 1, []int{0}, [][]byte{pieceA, pieceB})[0]
	w.commit("carl", map[int]string{150: ""})
	w.checkpoint("carl")
	w.later(day)
	w.commit("carl", map[int]string{151: ""})
	w.later(4 * day)
	w.commit("carl", map[int]string{152: ""})
	return w
}

// deleted is what the user does after that.
func (w *arrival) deleted() {
	w.commit("carl", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{90}})
}

// deliver is a writer, and a daemon that puts a checkpoint.
func (w *arrival) deliver(parts [][]byte, checkpoint bool) {
	w.t.Helper()
	w.arrived = w.pieces("carl", 90, nil, parts)[0]
	w.number = w.newestOf("carl")
	if checkpoint {
		w.checkpoint("carl")
	}
}

func (w *letters) newestOf(user string) uint64 {
	w.t.Helper()
	n, err := w.found(user).Log().Newest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// run erases the first message, and calls fn before the n-th change. It runs again, when it may, until the erasure has
// succeeded or is refused. more is false if there was no n-th change.
func (w *arrival) run(n int, fn func()) (more bool) {
	w.t.Helper()
	f := faultstore.New(w.mem)
	w.store = f
	changes := func(op, _ string) bool { return op == "put" || op == "delete" }
	f.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
		more = true
		w.store = w.mem
		fn()
		w.store = f
	}})
	err := w.eraseOf("carl", w.one)
	f.Clear()
	w.store = w.mem
	if errors.As(err, new(*erasure.SharedError)) {
		err = nil
	}
	if errors.Is(err, maintenance.ErrTooYoung) && more {
		w.again = true
		w.later(4 * day)
		w.commit("carl", map[int]string{153: ""})
		err = w.eraseOf("carl", w.one)
	}
	if w.refused = errors.As(err, new(*maintenance.LiveError)) || errors.Is(err, maintenance.ErrShared); err != nil && !w.refused {
		w.t.Fatalf("change %d: %v", n, err)
	}
	return more
}

// before reports whether the erased message has arrived again before the last event, so that it is erased, too.
func (w *arrival) before() bool {
	return w.arrived == w.one && w.number < w.event()
}

// event returns the number of the last commit about erased messages; 0 = none.
func (w *letters) event() (n uint64) {
	for _, r := range w.records() {
		n = max(n, r.Commit)
	}
	return n
}

// stays checks that the mail that has arrived is readable since then, at each moment.
func (w *arrival) stays() {
	w.t.Helper()
	if w.before() {
		return
	}
	for n := w.number; n <= w.newestOf("carl"); n++ {
		w.readableAt("carl", n, w.arrived, nil)
	}
	m, err := w.found("carl").Load(w.t.Context(), history.Moment{FromLog: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	if st, err := m.Message(w.arrived); err != nil || st == nil || st.Missing {
		w.t.Errorf("from the log: %+v, %v", st, err)
	}
}

// Mail arrives between any two changes of a run, and a daemon puts a checkpoint with it: the message itself, another message
// with a piece of it, or with all of its pieces. It stays readable from then on: in that checkpoint, in later ones of the daemon, which
// continue from it, and after the nights of compact. The erased message is gone from the moments before.
func TestMessagesArriveWithin(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"the message":  {pieceA, pieceB},
		"a piece":      {pieceB, []byte("more")},
		"every piece":  {pieceB, pieceA},
		"another mail": {[]byte("more")},
		"deleted mail": {pieceA, pieceB}, // the message, and the user deletes it at once
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, erased, refused, again := 0, 0, 0, 0
			step := 3
			switch {
			case *everyRequest:
				step = 1
			case raceEnabled && name == "another mail":
				return
			case raceEnabled: // while checkpoints are replaced
				n, step = 20, 1000
			}
			for more := true; more; n += step {
				w := newArrival(t)
				if more = w.run(n, func() {
					w.deliver(parts, n%2 == 0)
					if name == "deleted mail" {
						w.deleted()
					}
				}); !more {
					break
				}
				if w.again {
					again++
				}
				w.stays()
				w.commit("carl", map[int]string{160: ""})
				w.checkpoint("carl")
				w.stays()
				if w.refused {
					refused++
				} else {
					erased++
					w.nightsOf(3)
					w.stays()
					w.goneBefore(name == "every piece")
				}
				if t.Failed() {
					t.Fatalf("change %d", n)
				}
			}
			if raceEnabled && !*everyRequest { // a few changes only
				if erased+refused == 0 {
					t.Errorf("nothing arrived within %d changes: this test no longer covers its case", n)
				}
				return
			}
			if n < 12 || erased < 3 || (refused > 0) != (name == "the message" || name == "every piece") || (again > 0) != (name == "deleted mail") {
				t.Errorf("%d changes, erased %d times, %d of them later, refused %d times", n, erased, again, refused)
			}
		})
	}
}

// goneBefore checks that no moment before the event has the erased message. whole: unless other mail had all of its pieces
// before the event.
func (w *arrival) goneBefore(whole bool) {
	w.t.Helper()
	event := w.event()
	if whole && w.number < event {
		if r := w.records()[0]; r.Shared != 2 {
			w.t.Errorf("%+v", r)
		}
		return
	}
	var erased *history.ErasedError
	for n := range event {
		if n > 0 {
			w.readableAt("carl", n, w.one, &erased)
		}
	}
	if _, err := verify.Run(w.t.Context(), w.found("carl"), verify.Options{Report: func(p verify.Problem) { w.t.Errorf("verify: %s", p) }}); err != nil {
		w.t.Error(err)
	}
}

// Other mail gets every piece of a message between the survey and the event. Nothing of the message can be removed then: the
// run reports it, and the message can be erased when the other one is erased, too.
func TestMessagesSharedMeanwhile(t *testing.T) {
	w := newArrival(t)
	w.sharing()
	w.nightsOf(2)
	w.stays()
	w.readableAt("carl", 1, w.one, nil)
	w.commit("carl", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{90}})
	w.later(5 * day)
	w.commit("carl", map[int]string{160: ""})
	if _, err := w.tryErasing("carl", w.one, w.arrived); err != nil {
		t.Fatal(err)
	}
	w.nightsOf(2)
	var erased *history.ErasedError
	w.readableAt("carl", 1, w.one, &erased)
	for _, piece := range [][]byte{pieceA, pieceB} {
		if in := w.holding(piece); len(in) > 0 {
			t.Errorf("%q is in %q", piece, in)
		}
	}
}

// sharing erases the first message, and other mail gets every piece of it before the event.
func (w *arrival) sharing() {
	w.t.Helper()
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool {
		_, _, log := history.ParseLogKey("user/carl", key)
		return op == "put" && log
	}, Call: func(string, string) {
		w.store = w.mem
		w.deliver([][]byte{pieceB, pieceA}, false)
		w.store = f
	}})
	err := w.eraseOf("carl", w.one)
	w.store = w.mem
	if r := w.only(); !errors.As(err, new(*erasure.SharedError)) || !r.Messages[0].Whole || r.Shared != 2 {
		w.t.Fatalf("%v, %+v", err, r)
	}
}

// Other mail gets every piece of a message between the survey and the event, and retention drops that mail before the first Sweep, which
// erases the message then. The record does not call it restorable any more.
func TestMessagesSharedUntilRetention(t *testing.T) {
	w := newArrival(t)
	w.sharing()
	w.deleted()
	for n := range 4 {
		w.later(4 * day)
		w.commit("carl", map[int]string{160 + n: ""})
		f, err := repository.FindPath(t.Context(), w.config(), "user/carl")
		if err != nil {
			t.Fatal(err)
		}
		w.mergeOf(f)
		w.retain(f, 0)
	}
	w.nightsOf(2)
	r := w.records()[0]
	if in := w.holding(pieceA); r.Messages[0].Whole || r.Shared != 0 || len(in) > 0 {
		t.Errorf("%+v; a piece is in %q", r, in)
	}
}

// A run is interrupted before its event, and then other mail gets every piece of the message. The next run ends the erasure, because nothing
// can be removed: both can be erased together.
func TestMessagesSharedBeforeEvent(t *testing.T) {
	w := newArrival(t)
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && key == repository.BackupInfoKey("user/carl") }, Before: faultstore.Lost})
	err := w.eraseOf("carl", w.one)
	w.store = w.mem
	if r := w.only(); err == nil || r.State != repository.ErasureRemoving || r.Commit != 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	w.later(hour)
	w.deliver([][]byte{pieceB, pieceA}, false)
	if err := w.eraseOf("carl", w.one); !errors.Is(err, maintenance.ErrShared) || len(w.open()) > 0 {
		t.Errorf("%v, %d are open", err, len(w.open()))
	}
	w.deleted()
	w.later(5 * day)
	w.commit("carl", map[int]string{160: ""})
	if _, err := w.tryErasing("carl", w.one, w.arrived); err != nil {
		t.Error(err)
	}
}
