package cyrbackup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// Readable commits are shown, unreadable ones are named, and the exit status reports the loss.
func TestALogWithLostCommits(t *testing.T) {
	w := story(t)
	w.Stores[0].Lose(history.LogKey("user/anne", 1))
	w.Damage(history.LogKey("user/anne", 3))
	for _, tt := range []struct {
		argv string
		want []string
	}{
		{"anne list mailboxes", []string{"user/anne", "commit 1 (missing), commit 3 (damaged)", "verify --repair anne"}},
		{"anne list chunks", []string{"commit 1 (missing)", "\n      2 ", "\n      8 "}},
		{"anne log", []string{"commit 1 (missing)\n", "commit 3 (damaged)\n", "renamed from user.anne.Sent"}},
		{"anne log --json", []string{`{"number":1,"lost":"missing"}`, `{"number":3,"lost":"damaged"}`, `"number":8`}},
	} {
		out, err := tool(t, w, strings.Fields(tt.argv)...)
		if !errors.Is(err, cli.ErrReported) {
			t.Errorf("%s: %v, want a status for missing commits", tt.argv, err)
		}
		for _, text := range tt.want {
			if !strings.Contains(out, text) {
				t.Errorf("%s lacks %q:\n%s", tt.argv, text, out)
			}
		}
	}
}

// An unfinished export is no loss. The past that it has is complete.
func TestALogThatWasNotCompletelyCopied(t *testing.T) {
	w := story(t)
	if _, err := w.Stores[0].Put(t.Context(), history.CopyingKey("user/anne", 99), strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for argv, complete := range map[string]bool{"anne list mailboxes": false, "anne log": false, "--commit 2 anne list mailboxes": true, "anne log --until 2026-10-01T00:00:00Z": true} {
		out, err := tool(t, w, strings.Fields(argv)...)
		if reported := strings.Contains(out, "is not completely copied"); reported == complete || errors.Is(err, cli.ErrReported) == complete || strings.Contains(out, "lost") {
			t.Errorf("%s: %v\n%s", argv, err, out)
		}
	}
}

// After a complete repair, the log mentions the loss, and the exit status no longer reports it. A loss
// since then does.
func TestALogAfterARepair(t *testing.T) {
	w := story(t)
	lose := func(n uint64) { w.Damage(history.LogKey("user/anne", n)) }
	lose(3)
	part := w.Bucket("").Partitions[0]
	f, err := repository.FindPath(t.Context(), part, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
		Lock: repository.LockOptions{Owner: "test", Now: func() time.Time { return w.Now }}, Others: []repository.Config{part}})
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range []string{"anne log", "anne log --json", "anne log --until 2026-10-01T00:00:00Z"} {
		out, err := tool(t, w, strings.Fields(argv)...)
		if err != nil {
			t.Errorf("%s: %v\n%s", argv, err, out)
		}
		if strings.Contains(out, "3") && !strings.Contains(argv, "until") && !strings.Contains(out, "has lost commit 3 (damaged), and was repaired") {
			t.Errorf("%s does not mention the loss:\n%s", argv, out)
		}
	}
	lose(6)
	out, err := tool(t, w, "anne", "log")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "has lost commit 3 (damaged), and was repaired") || !strings.Contains(out, "has lost commit 6 (damaged): ctl_backups verify") {
		t.Errorf("another loss: %v\n%s", err, out)
	}
}
