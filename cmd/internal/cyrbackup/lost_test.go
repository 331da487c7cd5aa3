package cyrbackup

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
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
