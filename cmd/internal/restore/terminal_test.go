package restore

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/visible"
)

// evil is a folder name that attacks an administrator's terminal.
const evil = "\x1b[2J\u009b31m\x9b31m\u202egpj\u2066\nrestore: all is well\r\a\x7f"

// No output of a restore contains control characters, or a line made by a stranger.
func TestNothingReachesTheTerminal(t *testing.T) {
	config, part := host(t)
	s, end := openSession(t, part)
	defer end()
	name := "user.anne.x" + evil
	if err := s.ApplyRename(t.Context(), cyrus.Rename{Old: "user.anne", New: name}); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"--to", "maildir:" + t.TempDir(), "-v", "anne", "-a"}, {"--to", "eml:" + t.TempDir(), "-n", "anne", name},
		{"--to", "mbox:" + t.TempDir(), "anne", "none" + evil}, {"--to", evil, "anne", "-a"}, {"--at", evil, "srv", "anne", "-a"},
		{"--to", "mbox:" + t.TempDir(), "bob" + evil, "-a"},
	} {
		var out bytes.Buffer
		cli.Main("restore", "", &out, func(ctx context.Context) error {
			return run(ctx, append([]string{"-C", config}, argv...), stdio{strings.NewReader(""), &out, &out, cli.Audit{}})
		})
		if out.Len() == 0 {
			t.Errorf("%q: nothing was said", argv)
		}
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); visible.Text(line) != line || strings.HasPrefix(line, "restore: all is well") {
				t.Errorf("%q: %q", argv, line)
			}
		}
	}
}
