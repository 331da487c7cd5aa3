package erasure_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
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

// A message was erased, arrives again, and is deleted. Then erase is run again: the copy that has arrived since gets its own event,
// whatever the state of the former erasure. Nobody can restore it afterwards.
func TestMessagesEraseAgain(t *testing.T) {
	for name, former := range map[string]func(w *letters){
		"pending":     func(w *letters) { w.mustMessages() },
		"failed":      func(w *letters) { w.mustMessages(); w.failed() },
		"interrupted": func(w *letters) { w.interrupt() },
	} {
		if raceEnabled && name != "interrupted" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := newLetters(t)
			former(w)
			r := w.only()
			w.later(hour)
			w.commit("anne", map[int]string{1: ""})
			again := w.newest()
			w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1}})
			if done, err := w.tryMessages(); !errors.Is(err, maintenance.ErrTooYoung) || (done != nil) != (name == "interrupted") {
				t.Errorf("at once: %+v, %v", done, err)
			}
			if open := w.only(); open.ID != r.ID || open.State != repository.ErasurePending {
				t.Errorf("%+v", open)
			}
			w.later(5 * day)
			w.commit("anne", map[int]string{109: ""})
			done := w.mustMessages()
			if done.ID == r.ID || done.Commit <= again {
				t.Errorf("%+v", done.Erasure)
			}
			var erased *history.ErasedError
			w.readableAt("anne", again, message(1).GUID, &erased)
			w.later(15 * hour)
			w.finish()
			w.nightsOf(2)
			w.nowhere()
		})
	}
}

// failed notes in the record that a Sweep has failed for a reason that has passed.
func (w *letters) failed() {
	w.t.Helper()
	e, info, err := repository.ReadErasure(w.t.Context(), w.mem, w.only().ID)
	if err != nil {
		w.t.Fatal(err)
	}
	e.Failed = w.now
	if _, err := e.Put(w.t.Context(), w.mem, info.ETag); err != nil {
		w.t.Fatal(err)
	}
}

// The log has lost the event, and the user has a message whose body was erased. verify reports it beside other damage, and does not
// count it as erased. A repair asks the mail server for it.
func TestMessagesLiveWithoutBody(t *testing.T) {
	w := newLetters(t)
	w.mustMessages()
	w.mem.Lose(history.LogKey(anne, w.newest()))
	g := message(1).GUID
	w.putEvents("anne", nil, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{{UID: 300, ModSeq: 1, GUID: g, LastUpdated: 1, InternalDate: 1}}})
	w.mem.Flip(w.own, len(w.mem.Bytes(w.own))/3)
	var problems []string
	done, err := verify.Run(t.Context(), w.found("anne"), verify.Options{Report: func(p verify.Problem) { problems = append(problems, p.String()) }})
	if err != nil || done.Erased != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	for text, want := range map[string]bool{g.String() + ": the user has it, but its body was erased on": true, message(105).GUID.String(): true, message(3).GUID.String(): false} {
		if is := slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, text) }); is != want {
			t.Errorf("%q: %t in %q", text, is, problems)
		}
	}
	if _, err := verify.Repair(t.Context(), w.found("anne"), w.repairOptions()); err != nil {
		t.Fatal(err)
	}
	m, err := w.found("anne").Load(t.Context(), history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for n, want := range map[int]bool{1: true, 3: false, 101: false} {
		if st, err := m.Message(message(n).GUID); err != nil || st.Missing != want {
			t.Errorf("message %d: %+v, %v", n, st, err)
		}
	}
	if box, err := m.Mailbox("inbox"); err != nil || box.Resync == "" {
		t.Errorf("%+v, %v", box, err)
	}
}
