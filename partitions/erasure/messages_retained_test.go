package erasure_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// What the bucket retains of the messages is removed when it may be: a former version of a commit, one of a checkpoint, and
// packs. Until then the record shows why, and nobody can restore the messages by then.
func TestMessagesRetained(t *testing.T) {
	w := newLetters(t)
	until := w.now.Add(10 * day)
	commit := "backups/user/anne/log/0000000000000001.tar.zst"
	w.mem.Retain(commit, until)
	w.mem.Retain(w.private, until)
	held := w.below("backups/user/anne/checkpoints/")[0]
	w.mem.LegalHold(held, true)
	w.mem.LegalHold(w.mixed, true)
	if done := w.mustMessages(); !done.LegalHold || !done.Retained.Equal(until) {
		t.Errorf("%+v", done.Erasure)
	}
	w.gone()
	for range 2 {
		w.later(15 * hour)
		if err := w.tryFinish(); err != nil {
			t.Fatal(err)
		}
	}
	w.gone()
	if open := w.open(); len(open) != 1 || open[0].State != repository.ErasurePending || !open[0].LegalHold || !open[0].Retained.Equal(until) || w.has(w.private) || w.has(w.mixed) {
		t.Fatalf("%+v", open)
	}
	if left := w.bodies(); len(left) != 3 {
		t.Errorf("the bodies are in %q", left)
	}
	w.later(10 * day)
	if err := w.tryFinish(); err != nil {
		t.Fatal(err)
	}
	if open := w.open(); len(open) != 1 || !open[0].LegalHold || !open[0].Retained.IsZero() {
		t.Fatalf("after the retention: %+v", open)
	}
	for _, key := range []string{held, w.mixed} {
		w.mem.LegalHold(key, false)
	}
	w.later(day)
	w.finish()
	w.nowhere()
}
