package partitions_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// The only copy of a body that history alone names is lost. An export names the message, and the command
// that records the loss. After that command, a backup can be exported and moved, although the log and a
// checkpoint still name the place of the body.
func TestCopyAfterLossInHistory(t *testing.T) {
	w := newDamageWorld(t)
	h := w.host()
	inbox, sent := w.boxes["anne"][0], w.boxes["anne"][1]
	for _, r := range inbox.records[:2] { // all that is in the pack
		inbox.flag(r, `\Expunged`)
	}
	h.sync("anne", inbox, sent)
	h.stop()
	w.store.Lose(w.packs["anne"])
	target := newStore()
	d := newHost(t, w.store, target)
	to := d.set.Partitions()[1]
	_, err := transfer.Copy(t.Context(), w.found("anne"), to, nil)
	if err == nil || !strings.Contains(err.Error(), "verify --repair anne") {
		t.Errorf("before the repair: %v", err)
	}
	lost := strings.Join(w.repair(), "\n")
	for _, r := range inbox.records[:2] {
		if !strings.Contains(lost, "lost: message "+r.GUID.String()) {
			t.Errorf("the repair does not report message %s:\n%s", r.GUID, lost)
		}
	}
	out := newStore()
	if _, err := transfer.Copy(t.Context(), w.found("anne"), newHost(t, out).set.Partitions()[0], nil); err != nil {
		t.Fatalf("export after the repair: %v", err)
	}
	checkLive(t, out, inbox, sent)
	lock := repository.LockOptions{Owner: "test", Now: w.now}
	if _, err := transfer.Move(t.Context(), d.set.Configs(), repository.UserName("anne"), to, lock, nil); err != nil {
		t.Fatalf("move after the repair: %v", err)
	}
	checkLive(t, target, inbox, sent)
}

// checkLive checks that a store has the mailboxes of anne, with the bodies of live messages.
func checkLive(t *testing.T, s *memstore.Store, boxes ...*source) {
	t.Helper()
	m, objects := load(t, s, "user/anne"), history.NewObjects(s, 0)
	defer m.Close()
	for _, box := range boxes {
		if err := box.differs(m); err != nil {
			t.Error(err)
		}
		for _, r := range box.live() {
			checkBody(t, m, objects, r.GUID, box.bodies[r.GUID])
		}
	}
}
