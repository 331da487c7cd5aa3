package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The log of a backup is restored to the state before an erasure, which is interrupted or pending. Other mail gets the number of its
// event, and the user has the message again. Nothing believes the number in the record: the message stays, and nobody calls the
// erasure complete. When the user has deleted it, the erasure is run again.
func TestMessagesLogRestored(t *testing.T) {
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending} {
		t.Run(state, func(t *testing.T) {
			w := newLetters(t)
			before := w.mem.Snapshot()
			if state == repository.ErasureRemoving {
				w.interrupt()
			} else {
				w.mustMessages()
			}
			w.mem.Rollback(before, repository.BackupPrefix(anne), false)
			w.later(hour)
			w.commit("anne", map[int]string{1: "", 3: "", 4: ""})
			w.commit("anne", map[int]string{120: ""})
			w.checkpoint("anne")
			w.later(15 * hour)
			if state == repository.ErasurePending {
				if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "run erase again") {
					t.Errorf("sweep: %v", err)
				}
			}
			if _, err := w.tryMessages(); !errors.As(err, new(*maintenance.LiveError)) {
				t.Errorf("live: %v", err)
			}
			for range 2 {
				w.later(15 * hour)
				_ = w.tryFinish()
			}
			w.check2("anne", 1, 3, 4, 101, 102, 120)
			if open := w.open(); len(open) != 1 {
				t.Fatalf("%d erasures are open", len(open))
			}
			w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1, 3, 4}})
			w.later(5 * day)
			w.commit("anne", map[int]string{121: ""})
			w.mustMessages()
			w.nightsOf(3)
			w.gone()
			if in := w.bodies(); len(in) > 0 {
				t.Errorf("a body is in %q", in)
			}
		})
	}
}
