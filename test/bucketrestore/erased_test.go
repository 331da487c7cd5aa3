package bucketrestore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A moment at which the user still had a message that was erased later is restored without it. That is no damage.
func TestErasedMessage(t *testing.T) {
	now := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := memstore.New(clock)
	h := newAgedHost(t, s, clock)
	inbox := newBox("user.anne")
	inbox.deliver(mail(1, 2000))
	h.do(inbox.sync)
	want := maildir(inbox)
	inbox.deliver(mail(2, 2000))
	doomed := inbox.records[1].GUID
	h.do(inbox.sync)
	m, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	at := m.Tip().Time.UTC().Format(time.RFC3339Nano)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	inbox.expunge(2)
	inbox.deliver(mail(3, 2000))
	h.do(inbox.sync)
	now = now.Add(5 * 24 * time.Hour)
	h.stop()
	part := repository.Config{Name: "default", Location: "test", Store: s}
	o := maintenance.ForgetOptions{RetainOptions: maintenance.RetainOptions{Lock: repository.LockOptions{Owner: "test", Host: "tool", Now: clock},
		Policy: maintenance.Policy{LogMinAge: 48 * time.Hour}}, Merge: maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(now, 48*time.Hour)}}
	look, err := erasure.LookAtMessages(t.Context(), []repository.Config{part}, repository.UserName("anne"), []cyrus.GUID{doomed}, o.RetainOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := erasure.EraseMessages(t.Context(), look, erasure.HistoryOptions{By: "test", Reason: "test", Forget: o}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyTo(t, s, dir)
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	compare(t, "now", p.restore("restore", "user/anne"), maildir(inbox))
	compare(t, "before", p.restore("restore", "user/anne", "", at), want)
	out, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "Maildir"), "", at)
	if err != nil || !strings.Contains(out, "1 of 2 messages restored, 1 erased, 0 problems") || !strings.Contains(diag, doomed.String()+" was erased on 2026-05-09T") {
		t.Errorf("%v: %s%s", err, out, diag)
	}
}
