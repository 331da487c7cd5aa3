package ctlbackups

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// passwd prints what it has done.
func TestPasswdPrints(t *testing.T) {
	w := tooltest.New(t, "default")
	w.Bucket("backup_credentials_path: " + filepath.Join(w.Dir, "credentials.db") + "\n")
	for _, test := range []struct{ argv, want string }{
		{"passwd repl", "repl: password set\n"},
		{"passwd --list", "repl\n"},
		{"passwd --list --ndjson", `{"user":"repl"}` + "\n"},
		{"passwd --delete repl", "repl: removed\n"},
		{"passwd --list", ""},
	} {
		var out, errs bytes.Buffer
		c := &command{ctx: t.Context(), now: w.Now, clock: time.Now, in: strings.NewReader("a long secret\n"), out: &out, err: &errs}
		if err := c.run(append([]string{"-C", filepath.Join(w.Dir, "imapd.conf")}, strings.Fields(test.argv)...)); err != nil || out.String() != test.want || errs.Len() > 0 {
			t.Errorf("%s: %v, %q, %q", test.argv, err, out.String(), errs.String())
		}
	}
}
