package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The log of a backup is restored to the state before an erasure, which is interrupted or pending. Other mail gets the number of its
// event, and the user has the message again. Perhaps retention removes that number from the log. Nothing believes the number
// in the record: the message stays, and nobody calls the erasure complete. erase ends it, or a person does. When the user
// has deleted the message, it can be erased.
func TestMessagesLogRestored(t *testing.T) {
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending} {
		for name, retained := range map[string]bool{"in the log": false, "removed": true} {
			if raceEnabled && retained != (state == repository.ErasurePending) {
				continue
			}
			t.Run(state+", "+name, func(t *testing.T) { logRestored(t, state, retained) })
		}
	}
}

func logRestored(t *testing.T, state string, retained bool) {
	w := newLetters(t)
	if state == repository.ErasurePending { // each state knows of erased messages: of another one
		w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{105}})
		w.later(5 * day)
		w.commit("anne", map[int]string{119: ""})
		w.mustErase("anne", message(105).GUID, 0)
		w.nightsOf(1)
	}
	before := w.mem.Snapshot()
	if state == repository.ErasureRemoving {
		w.interrupt()
	} else {
		w.mustMessages()
	}
	id := w.only().ID
	w.mem.Rollback(before, repository.BackupPrefix(anne), false)
	w.later(hour)
	w.commit("anne", map[int]string{1: "", 3: "", 4: ""})
	w.commit("anne", map[int]string{120: ""})
	w.checkpoint("anne")
	if retained {
		w.retainPast(w.only().Commit)
	}
	w.later(15 * hour)
	if err := w.sweep(); state == repository.ErasurePending && !errors.As(err, new(*maintenance.EventLostError)) {
		t.Errorf("sweep: %v", err)
	}
	for range 2 {
		w.later(15 * hour)
		_ = w.tryFinish()
	}
	w.check2("anne", 1, 3, 4, 101, 102, 120)
	if open := w.open(); len(open) != 1 || open[0].ID != id {
		t.Fatalf("%d erasures are open", len(open))
	}
	s, err := erasure.LookAtMessages(t.Context(), w.parts(), anneName, w.guids(), w.historyOptions().Forget.RetainOptions)
	if err != nil || s.Recorded || s.Interrupted == nil {
		t.Errorf("%+v, %v", s, err)
	}
	if retained { // a person ends it
		_, err = erasure.CancelHistory(t.Context(), w.config(), id, w.lock())
	} else if _, err = w.tryMessages(); errors.As(err, new(*maintenance.LiveError)) {
		err = nil
	}
	if open := w.open(); err != nil || len(open) > 0 {
		t.Fatalf("%v, %+v", err, open)
	}
	w.check2("anne", 1, 3, 4)
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1, 3, 4}})
	w.later(5 * day)
	w.commit("anne", map[int]string{121: ""})
	w.mustMessages()
	w.nightsOf(3)
	if !retained && state == repository.ErasureRemoving {
		w.gone()
	}
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
}

// retainPast does what compact does, with a retention of two days, until the log begins after commit n.
func (w *letters) retainPast(n uint64) {
	w.t.Helper()
	for i := range 4 {
		w.later(2 * day)
		w.commit("anne", map[int]string{110 + i: ""})
		w.checkpoint("anne")
		w.merge()
		w.retainShortly()
	}
	if first, err := w.found("anne").Log().First(w.t.Context()); err != nil || first <= n {
		w.t.Fatalf("the log begins with commit %d: this test covers nothing: %v", first, err)
	}
}

// The log is restored to an older state, and retention drops the deleted messages from it. No checkpoint knows of erased messages: the
// erasure is not complete before it is run again.
func TestMessagesLogRestoredPruned(t *testing.T) {
	w := newLetters(t)
	before := w.mem.Snapshot()
	w.mustMessages()
	w.mem.Rollback(before, repository.BackupPrefix(anne), false)
	w.retainPast(w.only().Commit)
	w.later(15 * hour)
	if err := w.sweep(); !errors.As(err, new(*maintenance.EventLostError)) {
		t.Errorf("sweep: %v", err)
	}
	w.mustMessages()
	w.nightsOf(2)
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
}

// A checkpoint of another log has a number after that of the event, and shows no event. Readers ignore it, and so does the
// Sweep, after retention has removed the event.
func TestMessagesCheckpointOfAnotherLog(t *testing.T) {
	w := newLetters(t)
	other := newLetters(t)
	for n := range 12 {
		other.commit("anne", map[int]string{130 + n: ""})
	}
	other.checkpoint("anne")
	late := history.CheckpointKey(anne, other.newest())
	w.mustMessages()
	w.retainPast(w.only().Commit)
	for w.newest() <= other.newest() {
		w.commit("anne", map[int]string{140: ""})
	}
	for _, key := range other.mem.Keys(repository.BackupPrefix(anne) + "records/") {
		w.put(key, other.mem.Bytes(key))
	}
	w.put(late, other.mem.Bytes(late))
	w.later(15 * hour)
	if err := w.sweep(); err != nil {
		t.Error(err)
	}
}

// The log is restored to an older state, and the user does not have the message there. The erasure is run again, or a person ends
// it, also before any Sweep has failed.
func TestMessagesLogRestoredDeleted(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		if raceEnabled && cancel {
			continue
		}
		w := newLetters(t)
		before := w.mem.Snapshot()
		w.mustMessages()
		w.mem.Rollback(before, repository.BackupPrefix(anne), false)
		w.later(15 * hour)
		if cancel {
			if _, err := erasure.CancelHistory(t.Context(), w.config(), w.only().ID, w.lock()); err != nil {
				t.Error(err)
			}
			continue
		}
		w.commit("anne", map[int]string{120: ""})
		if done := w.mustMessages(); done.ID != w.only().ID || done.Commit != w.newest() {
			t.Errorf("%+v", done.Erasure)
		}
		w.nightsOf(2)
		w.nowhere()
	}
}

// The log is restored to an older state, and the next run puts another event, which does not get into the record. Retention
// removes the commit that the record named before, but not that event: this is the border. What the user got between the two
// was deleted, and is erased.
func TestMessagesEventAfterRestore(t *testing.T) {
	w := newLetters(t)
	before := w.mem.Snapshot()
	w.mustMessages()
	old := w.only().Commit
	w.mem.Rollback(before, repository.BackupPrefix(anne), false)
	w.later(hour)
	w.commit("anne", map[int]string{120: ""})
	for i := range 3 {
		w.later(2 * day)
		w.commit("anne", map[int]string{110 + i: ""})
	}
	w.later(day)
	w.merge()
	w.commit("anne", map[int]string{1: w.private})
	again := w.newest()
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1}})
	w.checkpoint("anne")
	w.later(5 * day)
	w.commit("anne", map[int]string{121: ""})
	if err := w.dies(false, func(_, _ string, put bool) bool { return put }); err == nil {
		t.Fatal("it has succeeded")
	}
	if r := w.only(); r.Commit != 0 || !r.Erased.IsZero() || r.State != repository.ErasureRemoving {
		t.Errorf("%+v", r)
	}
	event := w.newest()
	w.later(hour)
	w.retainFor(w.remains(), 6*day, 12)
	first, err := w.found("anne").Log().First(t.Context())
	if err != nil || first <= old || first > again {
		t.Fatalf("the log begins with commit %d, want %d to %d: this test covers nothing: %v", first, old+1, again, err)
	}
	if done := w.mustMessages(); done.Commit != event {
		t.Errorf("commit %d, want %d", done.Commit, event)
	}
	w.nightsOf(2)
	var erased *history.ErasedError
	w.readableAt("anne", again, message(1).GUID, &erased)
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
}

// The log is restored to an older state, and the next event gets the same number at another time. Its time counts.
func TestMessagesEventAtAnotherTime(t *testing.T) {
	w := newLetters(t)
	before := w.mem.Snapshot()
	first := w.mustMessages()
	record := w.mem.Bytes(repository.ErasureKey(first.ID))
	w.mem.Rollback(before, repository.BackupPrefix(anne), false)
	w.later(30 * hour)
	second := w.mustMessages()
	if second.Commit != first.Commit || !second.Erased.After(first.Erased) {
		t.Fatalf("commit %d at %s, then %d at %s", first.Commit, first.Erased, second.Commit, second.Erased)
	}
	w.put(repository.ErasureKey(first.ID), record) // an older one is put back
	w.later(15 * hour)
	if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "restored") {
		t.Errorf("sweep: %v", err)
	}
	if third := w.mustMessages(); third.Commit != second.Commit || !third.Erased.Equal(second.Erased) {
		t.Errorf("%+v", third.Erasure)
	}
	w.nightsOf(2)
	w.nowhere()
}
