package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// blocksNamed returns the objects with blocks that a checkpoint names.
func (a *aged) blocksNamed(n uint64) map[string]bool {
	a.t.Helper()
	m, err := history.ReadCheckpoint(a.t.Context(), a.store, "user/anne", n)
	if err != nil {
		a.t.Fatal(err)
	}
	defer m.Close()
	out := map[string]bool{}
	for object := range m.Blocks() {
		out[object] = true
	}
	return out
}

// After retention, a host whose newest checkpoint is damaged reads the log from the checkpoint that
// retention has left. If that is damaged too, it takes nothing for lost: it waits for a person.
func TestDamagedCheckpointAfterRetention(t *testing.T) {
	a := newAged(t)
	h := a.host()
	box, other := newSource("user.anne"), newSource("user.anne.other")
	other.deliver(mail(900, 500))
	h.sync("anne", box, other)
	a.mail(h, box, 20)
	mergeLog(t, a.store, "user/anne", 1, 12)
	a.pass(49 * time.Hour)
	done := a.retain(5 * 24 * time.Hour)
	a.mail(h, box, 3)
	h.stop()
	checkpoint(t, a.store)
	newest := checkpoints(t, a.store, "user/anne")[0]
	if done.Cut.Number == 0 || newest <= done.Cut.Number {
		t.Fatalf("%+v, checkpoint %d", done, newest)
	}
	older := a.blocksNamed(done.Cut.Number)
	for object := range a.blocksNamed(newest) {
		if !older[object] {
			replace(t, a.store, object, flipped(body(t, a.store, object)))
		}
	}
	fresh := a.host()
	fresh.expectSame("anne", box, other)
	fresh.checkIndex("anne", box, other)
	fresh.stop()
	log := history.Log{Store: a.store, Backup: "user/anne"}
	if n, err := log.Newest(t.Context(), 0); err != nil || n != newest {
		t.Errorf("the log goes to %d, want %d: %v", n, newest, err)
	}
	for object := range older {
		replace(t, a.store, object, flipped(body(t, a.store, object)))
	}
	last := a.host()
	if _, _, err := last.client().getUser("anne"); err == nil {
		t.Error("a host without a readable state answers")
	}
	if n, err := log.Newest(t.Context(), 0); err != nil || n != newest {
		t.Errorf("the log goes to %d, want %d: %v", n, newest, err)
	}
}
