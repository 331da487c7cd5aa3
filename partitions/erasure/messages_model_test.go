package erasure_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// chaos is a user with a few messages of common pieces, which arrive, are deleted, are erased and arrive again, in any
// order.
type chaos struct {
	*letters
	rng     *rand.Rand
	mail    [][][]byte              // the messages, in pieces
	guids   []cyrus.GUID            // of mail
	erased  map[cyrus.GUID][]uint64 // the commits with the events about a message
	live    map[uint32]int          // by UID, of mail
	uid     uint32
	done    int
	trouble map[string]int      // refusals, by reason
	within  int                 // runs in which mail has arrived
	either  map[cyrus.GUID]bool // moments before the event may have the body: see erasure.SharedError
}

func newChaos(t *testing.T, seed uint64) *chaos {
	w := &chaos{letters: &letters{past: &past{world: newWorld(t)}}, rng: rand.New(rand.NewPCG(seed, 3)), erased: map[cyrus.GUID][]uint64{}, live: map[uint32]int{}, trouble: map[string]int{}, either: map[cyrus.GUID]bool{}}
	piece := func(n int) []byte { return fmt.Appendf(nil, "PIECE-%d-%d of chaos", seed, n) }
	for i := range 6 {
		parts := [][]byte{fmt.Appendf(nil, "BEGIN-%d-%d", seed, i)}
		for n := range 2 {
			if w.rng.IntN(2) == 0 {
				parts = append(parts, piece(n))
			}
		}
		w.mail = append(w.mail, parts)
	}
	w.mail = append(w.mail, [][]byte{piece(0), piece(1)}) // all of it is in other messages, too
	w.guids = make([]cyrus.GUID, len(w.mail))
	return w
}

func (w *chaos) deliver() {
	i := w.rng.IntN(len(w.mail))
	w.uid++
	w.guids[i] = w.pieces("anne", w.uid, nil, w.mail[i])[0]
	w.live[w.uid] = i
}

func (w *chaos) expunge() {
	for uid := range w.uid + 1 {
		if _, ok := w.live[uid]; ok && w.rng.IntN(2) == 0 {
			w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{uid}})
			delete(w.live, uid)
			return
		}
	}
}

// chosen returns one or two messages, or those of an interrupted erasure.
func (w *chaos) chosen() (list []cyrus.GUID) {
	w.t.Helper()
	for _, e := range w.open() {
		if e.Unfinished() {
			for _, m := range e.Messages {
				list = append(list, m.GUID)
			}
			return list
		}
	}
	for range 1 + w.rng.IntN(2) {
		if g := w.guids[w.rng.IntN(len(w.guids))]; g != (cyrus.GUID{}) && !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	return list
}

// erase tries to erase messages. A refusal changes nothing. Mail may arrive, or be deleted, before some change of the run, and a daemon
// may put a checkpoint. Then the run may have to be continued.
func (w *chaos) erase() {
	w.t.Helper()
	list := w.chosen()
	if len(list) == 0 {
		return
	}
	before, meanwhile := w.content2(), false
	if w.rng.IntN(2) == 0 {
		meanwhile = w.meanwhile()
	}
	done, err := w.tryErasing("anne", list...)
	w.store = w.mem
	if done != nil && done.Commit > 0 {
		for _, g := range list {
			w.erased[g] = append(w.erased[g], done.Commit)
		}
	}
	var shared *erasure.SharedError
	if errors.As(err, &shared) {
		for _, g := range shared.GUIDs {
			w.either[g] = true
		}
		err = nil
	}
	if err == nil {
		w.done++
		return
	}
	reason := "other"
	switch live := new(maintenance.LiveError); {
	case errors.As(err, &live):
		reason = "live"
	case errors.Is(err, maintenance.ErrTooYoung):
		reason = "young"
	case errors.Is(err, erasure.ErrNoMessage):
		reason = "unknown"
	}
	if w.trouble[reason]++; reason == "other" && !bytes.Contains([]byte(err.Error()), []byte("part")) {
		w.t.Fatal(err)
	}
	if after := w.content2(); after != before && !meanwhile && (done == nil || done.Commit == 0) {
		w.t.Fatalf("refused (%v), and it has changed:\n%s\n%s", err, before, after)
	}
}

// meanwhile makes mail arrive before some change of a run.
func (w *chaos) meanwhile() bool {
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Skip: w.rng.IntN(30), Count: 1, Match: func(op, _ string) bool { return op == "put" || op == "delete" }, Call: func(string, string) {
		w.within++
		w.store = w.mem
		defer func() { w.store = f }()
		w.deliver()
		if w.rng.IntN(3) == 0 {
			w.expunge()
		}
		if w.rng.IntN(2) == 0 {
			w.checkpoint("anne")
		}
	}})
	return true
}

// check compares the messages at a moment with what the model knows.
func (w *chaos) check(n uint64) {
	w.t.Helper()
	m, err := w.found("anne").Load(w.t.Context(), history.Moment{Number: n, FromLog: w.rng.IntN(2) == 0})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	objects := history.NewObjects(w.mem, 0)
	for i, g := range w.guids {
		st, err := m.Message(g)
		if err != nil {
			w.t.Fatal(err)
		}
		if st == nil {
			continue
		}
		body, err := history.OpenMessage(w.t.Context(), objects, st, m.Places)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err == nil && !bytes.Equal(text, bytes.Join(w.mail[i], nil)) {
				w.t.Fatalf("commit %d: message %d is %q", n, i, text)
			}
		}
		want := slices.ContainsFunc(w.erased[g], func(event uint64) bool { return st.Commit <= event })
		if want && err == nil && w.mayHave(g) {
			continue
		}
		if is := errors.As(err, new(*history.ErasedError)); is != want || !is && err != nil {
			w.t.Fatalf("commit %d: message %d, of commit %d, erased by %v: %v", n, i, st.Commit, w.erased[g], err)
		}
	}
}

// mayHave reports whether moments before the event may have a message, although it is being erased.
func (w *chaos) mayHave(g cyrus.GUID) bool {
	return w.either[g] || slices.ContainsFunc(w.open(), func(e *repository.Erasure) bool {
		return e.Unfinished() && slices.ContainsFunc(e.Messages, func(m repository.ErasedMessage) bool { return m.GUID == g })
	})
}

func (w *chaos) newest() uint64 {
	w.t.Helper()
	n, err := w.found("anne").Log().Newest(w.t.Context(), 0)
	if err != nil && !errors.Is(err, history.ErrBeforeFirst) {
		w.t.Fatal(err)
	}
	return n
}

// restorable reports whether a moment has a message that is not erased.
func (w *chaos) restorable(i int) bool {
	w.t.Helper()
	for n := uint64(1); n <= w.newest(); n++ {
		m, err := w.found("anne").Load(w.t.Context(), history.Moment{Number: n})
		if err != nil {
			w.t.Fatal(err)
		}
		st, err := m.Message(w.guids[i])
		if err = errors.Join(err, m.Close()); err != nil {
			w.t.Fatal(err)
		}
		if st != nil && !slices.ContainsFunc(w.erased[w.guids[i]], func(event uint64) bool { return st.Commit <= event }) {
			return true
		}
	}
	return false
}

func (w *chaos) step() {
	w.t.Helper()
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.deliver()
	case 3, 4, 5:
		w.expunge()
	case 6:
		w.checkpoint("anne")
	case 7:
		w.merge()
	case 8, 9:
		if open := w.open(); len(open) > 0 && !open[0].Unfinished() {
			w.later(15 * hour)
			w.finish()
		}
		w.erase()
	case 10:
		w.finish()
	case 11:
		w.later(3 * day)
	}
	w.later(time.Duration(1+w.rng.IntN(14)) * hour)
}

// Messages arrive, are deleted, erased, and arrive again, in any order, beside merges, checkpoints and the nights of compact.
// Every moment has the messages that were not erased since they had arrived, and no other ones; a piece that no message
// has any more is nowhere in the end.
func TestMessagesModel(t *testing.T) {
	seeds, steps, total, within, trouble := 6, 70, 0, 0, map[string]int{}
	switch {
	case *everyRequest:
		seeds = 60
	case raceEnabled:
		seeds, steps = 1, 30
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newChaos(t, uint64(seed))
			w.commit("anne", nil)
			w.commit("bert", map[int]string{104: ""})
			for range steps {
				w.step()
				if newest := w.newest(); newest > 0 {
					w.check(1 + uint64(w.rng.IntN(int(newest))))
					w.check(newest)
				}
			}
			w.later(4 * day)
			w.commit("anne", map[int]string{150: ""})
			if slices.ContainsFunc(w.open(), func(e *repository.Erasure) bool { return e.Unfinished() }) {
				w.erase()
			}
			w.nightsOf(4)
			for n := uint64(1); n <= w.newest(); n++ {
				w.check(n)
			}
			w.pieceless()
			if _, err := verify.Run(t.Context(), w.found("anne"), verify.Options{Report: func(p verify.Problem) { t.Errorf("verify: %s", p) }}); err != nil {
				t.Error(err)
			}
			total, within = total+w.done, within+w.within
			for reason, n := range w.trouble {
				trouble[reason] += n
			}
		})
	}
	t.Logf("%d erasures, mail arrived within %d runs, refused: %v", total, within, trouble)
	if raceEnabled && !*everyRequest {
		return // too few steps
	}
	if total < seeds || within < seeds || trouble["live"] == 0 {
		t.Errorf("%d erasures, refused: %v", total, trouble)
	}
}

// pieceless checks that no object has a piece that no message needs.
func (w *chaos) pieceless() {
	w.t.Helper()
	left := map[string]bool{}
	for i, parts := range w.mail {
		if w.guids[i] == (cyrus.GUID{}) {
			continue
		}
		is := w.either[w.guids[i]] || w.restorable(i)
		for _, p := range parts {
			left[string(p)] = left[string(p)] || is
		}
	}
	for p, is := range left {
		if in := w.holding([]byte(p)); !is && len(in) > 0 {
			w.t.Errorf("%q is in %q", p, in)
		}
	}
}
