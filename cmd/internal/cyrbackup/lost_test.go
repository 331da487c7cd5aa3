package cyrbackup

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// What can be read is shown, what cannot is named, and the status says that something is missing.
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
			t.Errorf("%s: %v, want a status that says that something is missing", tt.argv, err)
		}
		for _, text := range tt.want {
			if !strings.Contains(out, text) {
				t.Errorf("%s lacks %q:\n%s", tt.argv, text, out)
			}
		}
	}
}
