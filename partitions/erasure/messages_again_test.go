package erasure_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A message was erased, and has arrived again. stat and verify see an ordinary message, and a repair changes nothing: neither
// when it looks for bodies, nor when backup.json is lost, which then keeps older programs out.
func TestMessagesAgainRepaired(t *testing.T) {
	for _, inLog := range []bool{true, false} {
		if raceEnabled && inLog {
			continue
		}
		w := newLetters(t)
		w.mustMessages()
		moment := w.newest()
		w.nightsOf(2)
		key := ""
		if !inLog {
			key = w.pack(1)
		}
		w.commit("anne", map[int]string{1: key})
		w.checkpoint("anne")
		f := w.found("anne")
		size, err := f.Measure(t.Context(), w.now, 0)
		want := int64(0)
		for _, n := range []int{1, 101, 102, 105, 106, 107} {
			want += message(n).Size
		}
		if err != nil || size.Uncompressed != want {
			t.Errorf("stat: %+v, want %d bytes, %v", size, want, err)
		}
		before := w.mem.Snapshot()
		if _, err := verify.Repair(t.Context(), f, w.repairOptions()); err != nil {
			t.Error(err)
		}
		if changed := w.mem.Changed(before); len(changed) > 0 {
			t.Errorf("a repair of nothing has changed %q", changed)
		}
		w.mem.Lose(repository.BackupInfoKey(anne))
		o := w.repairOptions()
		if _, err := verify.Repair(t.Context(), f, o); err != nil {
			t.Error(err)
		}
		info, err := repository.ReadBackupInfo(t.Context(), w.mem, anne)
		if err != nil || info.Version != repository.VersionErased {
			t.Errorf("%+v, %v", info, err)
		}
		w.at(history.Moment{Number: 1})
		w.at(history.Moment{Number: moment})
		w.numbers = []int{3, 4}
		w.check2("anne", 1, 101, 102, 105, 106, 107)
		w.gone2(moment + 1)
	}
}

// A pack with messages of others is damaged after an erasure. The repair looks for the bodies of others only, and records
// nothing about the erased ones.
func TestMessagesBesideRepair(t *testing.T) {
	w := newLetters(t)
	w.mustMessages()
	w.put(w.private, append(append([]byte{}, w.mem.Bytes(w.private)...), "damage"...))
	w.put(w.mixed, append(append([]byte{}, w.mem.Bytes(w.mixed)...), "damage"...))
	for _, user := range []string{"anne", "bert"} {
		if _, err := verify.Repair(t.Context(), w.found(user), w.repairOptions()); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		w.later(25 * hour)
		w.finish()
	}
	w.gone()
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
}

// An erasure of messages cannot be completed, because a commit was lost since. A person ends it, and the backup can be set
// aside. The messages that it has reached stay erased.
func TestCancelMessages(t *testing.T) {
	w := newLetters(t)
	w.mustMessages()
	id := w.only().ID
	if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err == nil {
		t.Error("an erasure that can be completed was ended")
	}
	w.loseCommit()
	w.later(15 * hour)
	if err := w.sweep(); !history.IsUnreadable(err) {
		t.Fatalf("it does not fail: %v", err)
	}
	if _, _, err := w.found("anne").SetAside(t.Context(), "test", w.lock(), nil); !errors.Is(err, repository.ErrErasing) {
		t.Errorf("%v", err)
	}
	w.later(25 * hour)
	if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err != nil {
		t.Fatal(err)
	}
	w.at(history.Moment{Number: 1})
	if _, _, err := w.found("anne").SetAside(t.Context(), "test", w.lock(), nil); err != nil {
		t.Error(err)
	}
}
