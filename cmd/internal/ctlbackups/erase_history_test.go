package ctlbackups

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// erase --before shows the loss, asks, removes the history, and leaves the mail that the user has.
// compact removes the bodies in the next night.
func TestEraseBefore(t *testing.T) {
	w := tooltest.New(t, "default", "cold")
	before := deletesLong(w)
	argv := []string{"erase", "bob", "--before", before, "--reason", "request"}
	if out, err := tool(t, w, append([]string{"erase", "-n"}, argv[1:]...)...); err != nil || !strings.Contains(out, "every moment from ") || !strings.Contains(out, "; 1 message (") {
		t.Fatalf("dry run: %v: %s", err, out)
	}
	if out, err := answering(t, w, "no\n", argv...); err == nil || !strings.Contains(out, "every moment from ") {
		t.Fatalf("answered no: %v: %s", err, out)
	}
	if _, err := tool(t, w, "verify", "bob"); err != nil {
		t.Fatal(err)
	}
	if out, err := answering(t, w, "bob\n", argv...); err != nil || !strings.Contains(out, "erase bob: default: removed the history before ") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "erase", "--list"); err != nil || !strings.Contains(out, "\tpending\tdefault:bob\t") || !strings.Contains(out, "history before") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "stat", "-h", "bob"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "move", "bob", "cold"); err == nil || !strings.Contains(out, "erasure of a part of it is not complete") {
		t.Errorf("move: %v: %s", err, out)
	}
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err != nil || !strings.Contains(out, "and the bodies in ") {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := tool(t, w, "erase", "--list"); err != nil || !strings.Contains(out, "\tdone\tdefault:bob\t") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "verify", "-A"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "hold", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := tool(t, w, append(argv, "--yes")...); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "on hold") {
		t.Errorf("%v: %s", err, out)
	}
}

// A time that is too late, in the future or no time is refused, and so are other copies.
func TestEraseBeforeUsage(t *testing.T) {
	w := moved(t)
	for text, usage := range map[string]bool{"": true, "yesterdayish": true, "in 3 days": true, w.Now.Add(-time.Hour).Format(time.RFC3339): false} {
		out, err := tool(t, w, "erase", "anne@example.org", "--yes", "--reason", "x", "--before", text)
		var u *cli.UsageError
		if err == nil || errors.As(err, &u) != usage || !usage && !strings.Contains(out, "must not be after ") {
			t.Errorf("%q: %v: %s", text, err, out)
		}
	}
	w.Now = w.Now.Add(9 * 24 * time.Hour)
	out, err := tool(t, w, "erase", "bob", "--yes", "--reason", "x", "--before", w.Now.Add(-5*24*time.Hour).Format(time.RFC3339))
	if err == nil || !strings.Contains(out, "partition cold: user/bob") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := tool(t, w, "erase", "--list", "--before", "2020-01-01"); err == nil {
		t.Error("--list with --before")
	}
}

// deletesLong lets bob delete a message long before a time, and get another one after it.
func deletesLong(w *tooltest.World) (before string) {
	bob := tooltest.NewMailbox("user.bob")
	for _, subject := range []string{"old and kept", "deleted SECRETWORD"} {
		bob.Deliver(tooltest.Mail(subject, "carol@example.org", 9000), w.Now)
	}
	w.Sync(bob)
	w.Now = w.Now.Add(24 * time.Hour)
	bob.Expunge(2)
	w.Sync(bob)
	w.Now = w.Now.Add(10 * 24 * time.Hour)
	bob.Deliver(tooltest.Mail("new", "carol@example.org", 9000), w.Now)
	w.Sync(bob)
	return w.Now.Add(-4 * 24 * time.Hour).Format(time.RFC3339)
}

// pastOfBob erases the history of bob, who has deleted a message before it.
func pastOfBob(t *testing.T) *tooltest.World {
	t.Helper()
	w := tooltest.New(t, "default")
	before := deletesLong(w)
	if out, err := tool(t, w, "erase", "bob", "--yes", "--before", before, "--reason", "request"); err != nil || !strings.Contains(out, ": every moment from ") {
		t.Fatalf("%v: %s", err, out)
	}
	return w
}

// With --wait, erase completes the erasure, although a delayed request puts a checkpoint with the content again
// meanwhile: it prints why it waits, and for how long.
func TestEraseBeforeWaits(t *testing.T) {
	w := pastOfBob(t)
	store := w.Parts[0].Store
	var late string
	for info, err := range store.List(t.Context(), "backups/user/bob/checkpoints/", "") {
		if err != nil {
			t.Fatal(err)
		}
		late = info.Key
	}
	slept := time.Duration(0)
	var out, errs bytes.Buffer
	c := &command{ctx: t.Context(), bucket: w.Bucket(""), now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &errs, waitErased: true,
		pass: func(d time.Duration) {
			if slept += d; slept < 13*time.Hour { // the checkpoint is young when its packs are due
				if _, err := store.Put(t.Context(), late, bytes.NewReader(w.Stores[0].Bytes(late)), objstore.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			w.Now = w.Now.Add(d)
		}}
	if err := c.eraseRest(repository.UserName("bob")); err != nil || slept < 20*time.Hour || !strings.Contains(errs.String(), "waiting until ") || !strings.Contains(out.String(), "and the bodies in ") {
		t.Errorf("%v after %s: %s%s", err, slept, &out, &errs)
	}
}

// A record that cannot be read is reported, and does not keep another erasure of history from its end.
func TestEraseBeforeBesideDamagedRecord(t *testing.T) {
	w := pastOfBob(t)
	id := strings.Repeat("0", 32)
	_, err := w.Parts[0].Store.Put(t.Context(), repository.ErasureKey(id), strings.NewReader("{"), objstore.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err == nil || !strings.Contains(out, id) || !strings.Contains(out, "and the bodies in ") {
		t.Errorf("compact: %v: %s", err, out)
	}
}

// An erasure of history that becomes due while compact runs waits for the next run, and is no failure.
func TestEraseBeforeDueMeanwhile(t *testing.T) {
	w := pastOfBob(t)
	var out, errs bytes.Buffer
	c := &command{ctx: t.Context(), bucket: w.Bucket(""), now: w.Now, clock: func() time.Time { return w.Now }, mode: modeAll, out: &out, err: &errs}
	c.sweepHistories()
	w.Now = w.Now.Add(15 * time.Hour)
	if due, complete := c.dueErasures(w.Parts[0]); len(due) > 0 || !complete || errs.Len() > 0 {
		t.Errorf("%d are due, complete: %t: %s", len(due), complete, &errs)
	}
}

// The list of packs of an erasure that is not due is damaged: compact reports it, because no pack is rewritten meanwhile.
// A person continues the erasure, and it ends.
func TestEraseBeforeListDamaged(t *testing.T) {
	w := pastOfBob(t)
	keys := w.Parts[0].Store.List(t.Context(), repository.ErasedPrefix, "")
	for info, err := range keys {
		if err == nil && strings.HasSuffix(info.Key, ".packs.zst") {
			_, err = w.Parts[0].Store.Put(t.Context(), info.Key, strings.NewReader("damaged"), objstore.PutOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Now = w.Now.Add(3 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "is run again, after which every pack of the partition is rewritten") {
		t.Errorf("compact: %v: %s", err, out)
	}
	var before string
	for r, err := range repository.Erasures(t.Context(), w.Parts[0], time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		before = r.Before.Format(time.RFC3339)
	}
	argv := []string{"erase", "bob", "--before", before, "--reason", "again"}
	if out, err := tool(t, w, append(argv, "--yes")...); err == nil || !strings.Contains(out, "run erase without --yes") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := answering(t, w, "bob\n", argv...); err != nil || !strings.Contains(out, "every pack of partition default is rewritten") {
		t.Errorf("%v: %s", err, out)
	}
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err != nil || !strings.Contains(out, "and the bodies in ") {
		t.Errorf("compact: %v: %s", err, out)
	}
}

// compact -A fails once if it has ended an erasure that had removed nothing.
func TestEraseBeforeCancelledFails(t *testing.T) {
	w := pastOfBob(t)
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err != nil {
		t.Fatalf("compact: %v: %s", err, out)
	}
	e := repository.NewErasure(repository.NewID(), repository.UserName("bob"), w.Now.Truncate(24*time.Hour))
	e.Since = w.Now
	if _, err := e.Put(t.Context(), w.Parts[0].Store, ""); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "compact", "-A"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "has ended") {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := tool(t, w, "compact", "-A"); err != nil {
		t.Errorf("compact again: %v: %s", err, out)
	}
}

// A backup of bob with another id has the name, and may have the history: compact fails, until a person ends the erasure.
// An erasure that can be completed is not ended.
func TestEraseBeforeCancel(t *testing.T) {
	w := pastOfBob(t)
	var e *repository.Erasure
	for r, err := range repository.Erasures(t.Context(), w.Parts[0], time.Time{}) {
		if e = r; err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{"erase", "bob", "--before", e.Before.Format(time.RFC3339), "--cancel", "--reason", "imported"}
	if out, err := tool(t, w, append(argv, "--yes")...); err == nil || !strings.Contains(out, "it can be completed") {
		t.Errorf("%v: %s", err, out)
	}
	f, err := repository.FindPath(t.Context(), w.Parts[0], e.Backup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutInfo(t.Context(), objstore.PutOptions{}, f.Info.Created); err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err == nil || !strings.Contains(out, "--cancel") {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := answering(t, w, "no\n", argv...); err == nil || !strings.Contains(out, "is not complete") {
		t.Errorf("answered no: %v: %s", err, out)
	}
	if out, err := answering(t, w, "bob\n", argv...); err != nil || !strings.Contains(out, "was cancelled on ") {
		t.Errorf("%v: %s", err, out)
	}
	for info, err := range w.Parts[0].Store.List(t.Context(), repository.ErasedPrefix, "") {
		if err != nil || !strings.HasSuffix(info.Key, ".json") {
			t.Errorf("%s is left, %v", info.Key, err)
		}
	}
	if out, err := tool(t, w, "compact", "-A"); err != nil {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := tool(t, w, append(argv, "--yes")...); err == nil || !strings.Contains(out, " is open") {
		t.Errorf("again: %v: %s", err, out)
	}
}

// --yes does not agree to the later time of an interrupted erasure, nor to another backup.
func TestEraseBeforeYesIsNoAnswer(t *testing.T) {
	w := tooltest.New(t, "default")
	bob := tooltest.NewMailbox("user.bob")
	bob.Deliver(tooltest.Mail("old", "carol@example.org", 9000), w.Now)
	w.Sync(bob)
	w.Now = w.Now.Add(11 * 24 * time.Hour)
	bob.Deliver(tooltest.Mail("new", "carol@example.org", 9000), w.Now)
	w.Sync(bob)
	e := repository.NewErasure(repository.NewID(), repository.UserName("bob"), w.Now.Add(-4*24*time.Hour).UTC().Truncate(24*time.Hour))
	e.State, e.IDs, e.Since = repository.ErasureRemoving, []string{"0123456789abcdef0123456789abcdef"}, w.Now
	if _, err := e.Put(t.Context(), w.Parts[0].Store, ""); err != nil {
		t.Fatal(err)
	}
	early := w.Now.Add(-30 * 24 * time.Hour).Format(time.RFC3339)
	for before, want := range map[string]string{early: "which is later", e.Before.Format(time.RFC3339): "was rewritten"} {
		if out, err := tool(t, w, "erase", "bob", "--yes", "--before", before, "--reason", "cron"); err == nil || !strings.Contains(out, want) {
			t.Errorf("before %s: %v: %s", before, err, out)
		}
	}
	if now, _, err := repository.ReadErasure(t.Context(), w.Parts[0].Store, e.ID); err != nil || now.State != repository.ErasureRemoving || now.Objects != 0 {
		t.Errorf("%+v, %v", now, err)
	}
	if out, err := answering(t, w, "bob\n", "erase", "bob", "--before", early, "--reason", "cron"); err != nil || !strings.Contains(out, "completed first, with its own time, instead of") {
		t.Errorf("answered: %v: %s", err, out)
	}
}
