package erasure_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
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
	arrived map[cyrus.GUID]uint64   // the last commit with which a message has arrived
	live    map[uint32]int          // by UID, of mail
	uid     uint32
	done    int
	trouble map[string]int      // refusals, by reason
	within  int                 // runs in which mail has arrived
	either  map[cyrus.GUID]bool // moments before the event may have the body: see erasure.SharedError
	lost    string              // the id of an erasure whose event the log has lost
}

func newChaos(t *testing.T, seed uint64) *chaos {
	w := &chaos{letters: &letters{past: &past{world: newWorld(t)}}, rng: rand.New(rand.NewPCG(seed, 3)), erased: map[cyrus.GUID][]uint64{}, arrived: map[cyrus.GUID]uint64{}, live: map[uint32]int{}, trouble: map[string]int{}, either: map[cyrus.GUID]bool{}}
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
	w.live[w.uid], w.arrived[w.guids[i]] = i, w.newest()
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

// chosen returns one or two messages, or those of an erasure that is interrupted, or whose event is lost.
func (w *chaos) chosen() (list []cyrus.GUID) {
	w.t.Helper()
	for _, e := range w.open() {
		if e.Unfinished() || e.ID == w.lost {
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
	before, meanwhile := w.content2(), slices.ContainsFunc(w.open(), func(e *repository.Erasure) bool { return e.Unfinished() || e.ID == w.lost })
	if w.rng.IntN(2) == 0 {
		w.meanwhile()
		meanwhile = true
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
func (w *chaos) meanwhile() {
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
}

// check compares the messages at a moment with what the model knows.
func (w *chaos) check(n uint64) {
	w.t.Helper()
	m, err := w.found("anne").Load(w.t.Context(), history.Moment{Number: n, FromLog: w.rng.IntN(2) == 0})
	if w.removed(n, err) {
		return
	}
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

// removed reports whether retention has removed moment n, as the error of Load shows.
func (w *chaos) removed(n uint64, err error) bool {
	w.t.Helper()
	if !errors.Is(err, history.ErrNotKept) && !errors.Is(err, history.ErrBeforeFirst) {
		return false
	}
	first, err := w.found("anne").Log().First(w.t.Context())
	return err == nil && n < first
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
		if w.removed(n, err) {
			continue
		}
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
	switch w.rng.IntN(14) {
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
			w.night()
		}
		w.erase()
	case 10:
		w.night()
	case 11:
		w.later(3 * day)
	case 12:
		w.days(1 + w.rng.IntN(2))
	case 13:
		w.restored()
	}
	w.later(time.Duration(1+w.rng.IntN(14)) * hour)
}

// night is what compact does, apart from retention. A Sweep that does not find its event changes nothing.
func (w *chaos) night() {
	w.t.Helper()
	var lost *maintenance.EventLostError
	switch err := w.tryFinish(); {
	case errors.As(err, &lost):
		w.trouble["event lost"]++
		for _, e := range w.open() {
			if e.Commit == lost.Commit && !e.Failed.IsZero() {
				w.lost = e.ID
			}
		}
	case err != nil:
		w.t.Fatal(err)
	}
}

// days are a few days with mail, and with retention.
func (w *chaos) days(n int) {
	w.t.Helper()
	for range n {
		w.deliver()
		w.later(2 * day)
		if w.rng.IntN(2) == 0 {
			w.expunge()
		}
		w.checkpoint("anne")
		w.merge()
		w.retain(w.found2("anne"), w.rng.IntN(3))
	}
}

// found2 is found with the id of the backup.
func (w *chaos) found2(user string) *repository.Found {
	w.t.Helper()
	f, err := repository.FindPath(w.t.Context(), w.config(), w.found(user).Path)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// restored erases messages, and then somebody restores the log to the state before that. Perhaps the numbers of the lost commits are
// removed by retention before the next night.
func (w *chaos) restored() {
	w.t.Helper()
	before, n := w.mem.Snapshot(), w.newest()
	uid, live, arrived, either := w.uid, maps.Clone(w.live), maps.Clone(w.arrived), maps.Clone(w.either)
	w.erase()
	for range w.rng.IntN(4) {
		w.expunge()
		w.deliver()
	}
	w.mem.Rollback(before, repository.BackupPrefix(anne), false)
	w.uid, w.live, w.arrived, w.either = uid, live, arrived, either
	for g, events := range w.erased {
		w.erased[g] = slices.DeleteFunc(events, func(event uint64) bool { return event > n })
	}
	w.later(hour)
	if w.rng.IntN(2) == 0 {
		w.days(3)
	}
}

// Messages arrive, are deleted, erased, and arrive again, in any order, beside merges, checkpoints, retention and the nights of compact,
// and somebody restores the log to an older state.
// Every moment has the messages that were not erased since they had arrived, and no other ones; a piece that no message
// has any more is nowhere in the end.
func TestMessagesModel(t *testing.T) {
	seeds, steps, total, met, trouble := 4, 60, 0, 0, map[string]int{}
	switch {
	case *everyRequest:
		seeds = 60
	case raceEnabled:
		seeds, steps = 1, 16
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
			w.end()
			for n := uint64(1); n <= w.newest(); n++ {
				w.check(n)
			}
			w.pieceless()
			if _, err := verify.Run(t.Context(), w.found("anne"), verify.Options{Report: func(p verify.Problem) { t.Errorf("verify: %s", p) }}); err != nil {
				t.Error(err)
			}
			total, met = total+w.done, met+w.within
			for reason, n := range w.trouble {
				trouble[reason] += n
			}
		})
	}
	t.Logf("%d erasures, mail arrived within %d runs, refused: %v", total, met, trouble)
	if raceEnabled && !*everyRequest {
		return // too few steps
	}
	if total < seeds || met < seeds || trouble["live"] == 0 {
		t.Errorf("%d erasures, refused: %v", total, trouble)
	}
}

// end completes the last erasure.
func (w *chaos) end() {
	w.t.Helper()
	for range 6 {
		w.later(15 * hour)
		w.night()
		if slices.ContainsFunc(w.open(), func(e *repository.Erasure) bool { return e.Unfinished() || e.ID == w.lost }) {
			w.later(4 * day)
			w.commit("anne", map[int]string{151: ""})
			w.erase()
		}
	}
	if open := w.open(); len(open) > 0 {
		w.t.Fatalf("%+v", open[0])
	}
}

// pieceless checks that no object has a piece of erased messages that no message needs.
func (w *chaos) pieceless() {
	w.t.Helper()
	left := map[string]bool{}
	for i, parts := range w.mail {
		if w.guids[i] == (cyrus.GUID{}) {
			continue
		}
		is := w.either[w.guids[i]] || w.restorable(i) || !slices.ContainsFunc(w.erased[w.guids[i]], func(event uint64) bool { return event > w.arrived[w.guids[i]] })
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
