package maintenance_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// year makes a backup with a commit every eight hours, merged by day.
func year(t *testing.T, days int) *past {
	w := newPast(t)
	w.create("inbox")
	for range days {
		for range 3 {
			w.deliver("inbox", 1)
			w.hours(8)
		}
		if len(w.boxes["inbox"]) > 8 {
			w.expunge("inbox", 2)
		}
		w.merge()
	}
	return w
}

func TestRetain(t *testing.T) {
	w := year(t, 40)
	done := w.mustRetain()
	if done.Cut.Number == 0 || done.Log.Objects == 0 || !done.Pruned || done.Commit != w.tip.Number {
		t.Errorf("%+v", done)
	}
	if age := w.now.Sub(done.Cut.Time); age < w.policy.Keep || age > w.policy.Keep+36*time.Hour {
		t.Errorf("the cut is %s old", age)
	}
	if n := w.checkpoints(); len(n) != 1 || n[0] != done.Cut.Number {
		t.Errorf("checkpoints %v, want %d", n, done.Cut.Number)
	}
	if again := w.mustRetain(); again.Changed() {
		t.Errorf("the same day: %+v", again)
	}
	w.days(1)
	w.deliver("inbox", 1)
	if again := w.mustRetain(); again.Cut.Number <= done.Cut.Number {
		t.Errorf("a day later: %+v", again)
	}
}

func TestRetainForEver(t *testing.T) {
	w := year(t, 20)
	w.policy.Keep = 0
	before := w.memory.Snapshot()
	done, err := w.retain()
	if err != nil || done.Changed() {
		t.Errorf("%+v, %v", done, err)
	}
	if changed := w.memory.Changed(before); len(changed) > 1 { // the lease
		t.Errorf("changed: %q", changed)
	}
}

func TestDryRun(t *testing.T) {
	w := year(t, 40)
	w.checkpoint()
	before := w.memory.Snapshot()
	o := w.options()
	o.DryRun = true
	plan, err := maintenance.Retain(t.Context(), w.found, nil, o)
	w.must(err)
	if changed := w.memory.Changed(before); len(changed) > 0 {
		t.Errorf("changed: %q", changed)
	}
	done := w.mustRetain()
	if plan.Log != done.Log || plan.Checkpoints != done.Checkpoints || plan.Cut != done.Cut || plan.Written != done.Written || plan.Pruned != done.Pruned {
		t.Errorf("planned %+v\ndone %+v", plan, done)
	}
}

// A backup that has ended is pruned, and then nothing is put any more.
func TestRetainAfterTheEnd(t *testing.T) {
	w := year(t, 12)
	w.expunge("inbox", 3)
	for night := range 60 {
		w.days(1)
		w.retainNightly(night)
	}
	end := w.tip.Number
	for night := range 60 {
		w.days(1)
		w.merge()
		w.retainNightly(night)
	}
	if w.tip.Number != end {
		t.Errorf("retention has put %d commits into a backup without changes", w.tip.Number-end)
	}
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	if box, err := m.Mailbox("inbox"); err != nil || box.Live != box.Records {
		t.Errorf("%+v, %v", box, err)
	}
}

// Nothing is left of deleted content in a backup that has ended: neither in the checkpoint before its
// log, nor in blocks of former checkpoints.
func TestNothingIsLeftAfterTheEnd(t *testing.T) {
	for _, c := range []struct{ days, more int }{{6, 0}, {5, 1}, {5, 2}} {
		t.Run(fmt.Sprintf("deletion after %d days, then %d commits", c.days, c.more), func(t *testing.T) {
			w := newPast(t)
			w.create("inbox")
			for range 3 {
				w.days(1)
				w.deliver("inbox", 2)
			}
			w.checkpoint()
			w.days(c.days)
			w.expunge("inbox", 3)
			for range c.more {
				w.days(1)
				w.deliver("inbox", 1)
			}
			w.nothingIsLeft()
		})
	}
}

// nothingIsLeft runs retention for many nights, and checks that it ends, and the remains.
func (w *past) nothingIsLeft() {
	w.t.Helper()
	end := uint64(0)
	for night := range 90 {
		w.days(1)
		w.merge()
		if due, err := maintenance.RetainDue(w.t.Context(), w.found, w.options()); err != nil || due {
			w.must(err)
			w.mustRetain()
		}
		if night == 70 {
			end = w.tip.Number
		}
	}
	if w.tip.Number != end {
		w.t.Errorf("retention has put %d commits into a backup without changes", w.tip.Number-end)
	}
	numbers := w.checkpoints()
	if len(numbers) != 1 {
		w.t.Fatalf("checkpoints %v", numbers)
	}
	m, err := w.found.Load(w.t.Context(), history.Moment{Number: numbers[0]})
	w.must(err)
	defer m.Close()
	if box, err := m.Mailbox("inbox"); err != nil || box.Live != box.Records {
		w.t.Errorf("checkpoint %d: %+v, %v", numbers[0], box, err)
	}
	named := w.named()
	for key := range w.objects(history.RecordsPrefix(anne)) {
		if !named[key] {
			w.t.Errorf("%s is left, and nothing names it", key)
		}
	}
}

// A backup that has ended is looked at rarely, but its last deletion is dropped.
func TestQuietBackup(t *testing.T) {
	w := year(t, 12)
	w.expunge("inbox", 3)
	due := func(days int) (n int) {
		for range days {
			w.days(1)
			w.merge()
			is, err := maintenance.RetainDue(t.Context(), w.found, w.options())
			w.must(err)
			if is {
				n++
				w.mustRetain()
			}
		}
		return n
	}
	due(15)
	if box, err := w.fold.Mailbox("inbox"); err != nil || box.Live != box.Records {
		t.Errorf("%+v, %v", box, err)
	}
	due(60)
	if n := due(40); n != 5 {
		t.Errorf("of 40 nights, retention had something to look at in %d, want 5", n)
	}
	w.expunge("inbox", 1)
	due(14)
	if box, err := w.fold.Mailbox("inbox"); err != nil || box.Live != box.Records {
		t.Errorf("%+v, %v", box, err)
	}
}

func TestKeepRules(t *testing.T) {
	w := year(t, 90)
	w.policy.Daily, w.policy.Weekly, w.policy.Monthly = 5, 4, 3
	done := w.mustRetain()
	if n := len(done.Kept); n != 9 {
		t.Errorf("%d moments are kept: %v", n, done.Kept)
	}
	for night := range 30 {
		w.days(1)
		w.deliver("inbox", 1)
		w.merge()
		done = w.retainNightly(night)
	}
	if n := len(done.Kept); n < 8 || n > 12 {
		t.Errorf("a month later %d moments are kept: %v", n, done.Kept)
	}
}

// A moment that was removed names those before and after it.
func TestNotKept(t *testing.T) {
	w := year(t, 60)
	w.policy.Weekly = 3
	done := w.mustRetain()
	for n := done.Kept[0].Number + 1; n < done.Kept[1].Number; n += 5 {
		_, err := w.found.Load(t.Context(), history.Moment{Number: n, Tolerant: true})
		var not *history.NotKeptError
		if !errors.As(err, &not) || not.Before.Number != done.Kept[0].Number || not.After.Number != done.Cut.Number {
			t.Errorf("commit %d: %v", n, err)
		}
		if errors.Is(err, history.ErrBeforeFirst) {
			t.Errorf("commit %d is before the first", n)
		}
	}
	_, err := w.found.Load(t.Context(), history.Moment{Number: 1})
	if !errors.Is(err, history.ErrNotKept) || !errors.Is(err, history.ErrBeforeFirst) || !strings.Contains(err.Error(), "everything before commit") {
		t.Errorf("commit 1: %v", err)
	}
}

// The log up to a body that is still inline stays.
func TestInlineBodiesStay(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for i := range 20 {
		w.commitWith(1, "inbox", i == 5)
		w.days(1)
	}
	done := w.mustRetain()
	if done.Cut.Number != 6 {
		t.Errorf("the cut is %d; commit 7 has a body", done.Cut.Number)
	}
	w.merge()
	w.days(2)
	w.deliver("inbox", 1)
	if done = w.mustRetain(); done.Cut.Number < 8 {
		t.Errorf("after the merge, the cut is %d", done.Cut.Number)
	}
}

// A checkpoint that is made from one with missing blocks would miss them, too.
func TestMissingBlocksOfBase(t *testing.T) {
	w := newPast(t)
	w.create("archive")
	w.deliver("archive", 5)
	w.create("inbox")
	named := func() map[string]bool {
		m, err := history.ReadCheckpoint(t.Context(), w.memory, anne, w.mustRetain().Cut.Number)
		w.must(err)
		out := map[string]bool{}
		for object := range m.Blocks() {
			out[object] = true
		}
		w.must(m.Close())
		return out
	}
	more := func() {
		for range 12 {
			w.days(1)
			w.deliver("inbox", 1)
			w.merge()
		}
	}
	more()
	more()
	first := named()
	more()
	shared := 0
	for object := range named() {
		if first[object] {
			shared++
			w.must(w.memory.Delete(t.Context(), object)) // with the records of the archive
		}
	}
	if shared == 0 {
		t.Fatal("the checkpoints share no blocks")
	}
	w.days(4)
	w.deliver("inbox", 1)
	before := w.keys()
	if done, err := w.retain(); err == nil || done.Log.Objects+done.Checkpoints.Objects > 0 {
		t.Errorf("%+v, %v", done, err)
	}
	for key := range before {
		if _, err := w.memory.Stat(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// Objects that were put recently stay, although their commits are old: a move has copied them.
func TestYoungObjectsStay(t *testing.T) {
	w := year(t, 30)
	for key := range w.objects(history.LogPrefix(anne)) {
		w.put(key, w.get(key))
	}
	if done := w.mustRetain(); done.Cut.Number > 0 {
		t.Errorf("%+v", done)
	}
	w.hours(49)
	if done := w.mustRetain(); done.Cut.Number == 0 {
		t.Errorf("two days later: %+v", done)
	}
}

// Compaction leaves a large commit unmerged, with its bodies. Retention packs them.
func TestInlineBodiesOfLargeCommit(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for i := range 20 {
		w.large = i == 5
		w.commitWith(3, "inbox", i == 5)
		w.days(1)
	}
	if done := w.mustRetain(); done.Cut.Number < 8 {
		t.Errorf("the cut is %d; commit 7 is large", done.Cut.Number)
	}
}

// Places that name objects of the log which were merged and then removed lead to the packs.
func TestPlacesOfRemovedCommits(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for range 5 {
		w.commitWith(2, "inbox", true)
		w.hours(7)
	}
	w.checkpoint() // names the commits
	w.days(4)
	old, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer old.Close()
	w.merge()
	for range 12 {
		w.deliver("inbox", 1)
		w.days(1)
	}
	w.checkpoint() // still names the commits
	w.merge()
	if done := w.mustRetain(); done.Cut.Number < 5 {
		t.Fatalf("the cut is %d", done.Cut.Number)
	}
	w.checkBodies(old, newBodies(w.memory)) // as the index of a daemon
	for range 15 {
		w.days(1)
		w.deliver("inbox", 1)
		w.merge()
		w.mustRetain()
	}
}

// deleteLater makes the mail server delete a folder with delay.
func (w *past) deleteLater(uniqueid string) {
	w.commit(&history.RenameEvent{UniqueID: uniqueid, Old: "user.anne." + uniqueid, New: w.deletedName(uniqueid)})
}

func (w *past) deletedName(uniqueid string) string {
	return "DELETED.user.anne." + uniqueid + "." + strings.ToUpper(hex8(w.now))
}

func hex8(t time.Time) string {
	const digits = "0123456789abcdef"
	var b [8]byte
	for i, n := 7, t.Unix(); i >= 0; i-- {
		b[i] = digits[n%16]
		n /= 16
	}
	return string(b[:])
}

func (w *past) live(uniqueid string) bool {
	w.t.Helper()
	box, err := w.fold.Mailbox(uniqueid)
	w.must(err)
	return box != nil && box.Deleted.IsZero()
}

func TestDeletedFolders(t *testing.T) {
	w := newPast(t)
	for _, id := range []string{"inbox", "gone", "back", "again"} {
		w.create(id)
		w.deliver(id, 2)
	}
	for _, id := range []string{"gone", "back", "again"} {
		w.deleteLater(id)
	}
	again := w.deletedName("again")
	w.days(1)
	w.commit(&history.RenameEvent{UniqueID: "back", Old: "DELETED.…", New: "user.anne.back"})
	step := func(days int) {
		for range days {
			w.days(1)
			w.deliver("inbox", 1)
			w.merge()
			w.mustRetain()
		}
	}
	step(28)
	if !w.live("gone") || !w.live("again") {
		t.Error("a folder is deleted too early")
	}
	step(4)
	if w.live("gone") || w.live("again") || !w.live("back") || !w.live("inbox") {
		t.Errorf("gone %v, again %v, back %v, inbox %v", w.live("gone"), w.live("again"), w.live("back"), w.live("inbox"))
	}
	w.commit(mailbox("again", again)) // the mail server still has it
	step(9)
	if !w.live("again") {
		t.Error("a folder that was sent again is deleted at once")
	}
	step(4)
	if w.live("again") {
		t.Error("a folder that was sent again stays for ever")
	}
	step(12)
	if box, err := w.fold.Mailbox("gone"); err != nil || box != nil {
		t.Errorf("the folder is still in the state: %+v, %v", box, err)
	}
}

// Nothing is removed while the clocks of store and host differ.
func TestClock(t *testing.T) {
	w := year(t, 30)
	at := w.now
	o := w.options()
	for _, off := range []time.Duration{time.Hour, 400 * 24 * time.Hour, -time.Hour} {
		w.now = at.Add(off) // the store's clock; the host's stays
		o.Lock.Now = func() time.Time { return at }
		before := w.memory.Snapshot()
		_, err := maintenance.Retain(t.Context(), w.found, nil, o)
		if !errors.Is(err, storeclock.ErrUncertain) {
			t.Errorf("store %s: %v", off, err)
		}
		w.now = at
		o.Lock.Now = func() time.Time { return at.Add(off) }
		if _, err = maintenance.Retain(t.Context(), w.found, nil, o); !errors.Is(err, storeclock.ErrUncertain) {
			t.Errorf("host %s: %v", off, err)
		}
		if changed := w.memory.Changed(before); len(changed) > 0 {
			t.Errorf("changed: %q", changed)
		}
	}
}

// corrupt changes a byte in the middle of an object.
func (w *past) corrupt(key string) {
	w.t.Helper()
	b := w.get(key)
	b[len(b)/3] ^= 0x55
	w.put(key, b)
}

func (w *past) get(key string) []byte {
	w.t.Helper()
	o, err := w.memory.Get(w.t.Context(), key, 0, -1)
	w.must(err)
	b, err := io.ReadAll(o)
	w.must(errors.Join(err, o.Close()))
	return b
}

// A backup that cannot be read is left unchanged.
func TestDamagedBackupIsLeft(t *testing.T) {
	for name, damage := range map[string]func(w *past){
		"a commit to be removed is missing": func(w *past) { w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, 3))) },
		"a commit to be removed is damaged": func(w *past) { w.corrupt(history.LogKey(anne, 3)) },
		"a commit to be kept is missing":    func(w *past) { w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, w.tip.Number-3))) },
		"a commit before a checkpoint is missing": func(w *past) {
			w.checkpoint()
			w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, w.tip.Number-3)))
		},
		"the newest commit is damaged":     func(w *past) { w.corrupt(history.LogKey(anne, w.tip.Number)) },
		"the first commit is missing":      func(w *past) { w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, 1))) },
		"a newer checkpoint is damaged":    func(w *past) { w.checkpoint(); w.corrupt(history.CheckpointKey(anne, w.tip.Number)) },
		"the log continues somewhere else": func(w *past) { w.commit(&history.SealedEvent{Reason: "moved", To: "elsewhere"}) },
		"the log has ended":                func(w *past) { w.commit(&history.SealedEvent{Reason: "erased"}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPast(t)
			w.create("inbox")
			for range 30 {
				w.deliver("inbox", 1)
				w.days(1)
			}
			damage(w)
			before := w.keys()
			done, err := w.retain()
			if err == nil || done.Log.Objects+done.Checkpoints.Objects+done.Records.Objects > 0 {
				t.Errorf("%+v, %v", done, err)
			}
			for key := range before {
				if _, err := w.memory.Stat(t.Context(), key); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
}

func (w *past) keys() map[string]time.Duration { return w.objects("backups/") }

// A checkpoint that exists already is not believed.
func TestWrongCheckpointIsReplaced(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	w.create("other")
	for range 30 {
		w.deliver("inbox", 1)
		w.days(1)
	}
	o := w.options()
	o.DryRun = true
	plan, err := maintenance.Retain(t.Context(), w.found, nil, o)
	w.must(err)
	other := newPast(t)
	other.create("inbox")
	other.create("third")
	for range plan.Cut.Number - 2 {
		other.deliver("inbox", 2)
	}
	other.checkpoint()
	for _, prefix := range []string{history.CheckpointPrefix(anne), history.RecordsPrefix(anne)} {
		for key := range other.objects(prefix) {
			w.put(key, other.get(key))
		}
	}
	if n := w.checkpoints(); len(n) != 1 || n[0] != plan.Cut.Number {
		t.Fatalf("checkpoints %v, want %d", n, plan.Cut.Number)
	}
	w.mustRetain()
}

// Reach shows how far back the backup can be restored, before and after retention.
func TestReach(t *testing.T) {
	w := year(t, 60)
	check := func(first, every uint64, single int) {
		t.Helper()
		r, err := w.found.Reach(t.Context(), w.now)
		if err != nil || !r.First.Equal(w.times[first]) || !r.Every.Equal(w.times[every]) || r.Single != single {
			t.Errorf("%+v, %v, want %d moments from %s on, and every one since %s", r, err, single, w.times[first], w.times[every])
		}
		w.checkMoment(history.Moment{Time: r.First, Now: w.now}, first, true, newBodies(w.memory))
		if first > 1 {
			w.checkMoment(history.Moment{Time: r.First.Add(-time.Second), Now: w.now}, first-1, false, newBodies(w.memory))
		}
	}
	check(1, 1, 0)
	w.checkpoint()
	check(1, 1, 0)
	w.policy.Weekly = 4
	done := w.mustRetain()
	check(done.Kept[0].Number, done.Cut.Number, len(w.checkpoints())-2) // the last two are at the cut and the newest
}
