package ctlbackups

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// Locks and moves do not count as changes from the mail server.
func TestLastChange(t *testing.T) {
	t.Parallel()
	w := tooltest.New(t, "one", "two")
	m := tooltest.NewMailbox("user.anne")
	m.Deliver(tooltest.Mail("a", "bob@example.org", 300), time.Now())
	w.Sync(m)
	was := "2026-11-20 12:01:00 +0000\t"
	target := map[string]string{"one": "two", "two": "one"}[at(t, w.Parts, "anne")]
	for _, argv := range []string{"lock anne -x true", "lock anne -x true", "move anne " + target} {
		w.Now = w.Now.Add(49 * time.Hour)
		if out, err := tool(t, w, strings.Fields(argv)...); err != nil {
			t.Fatal(out, err)
		}
		if out, err := tool(t, w, "list", "-t", "48"); err != nil || !strings.HasPrefix(out, was) {
			t.Errorf("list after %s: %q, %v", argv, out, err)
		}
		if out, err := tool(t, w, "stat", "anne"); err != nil || !strings.HasSuffix(out, strings.TrimSpace(was)+"\n") {
			t.Errorf("stat after %s: %q, %v", argv, out, err)
		}
	}
	if out, err := tool(t, w, "lock", "-c", "bob", "-x", "true"); err != nil {
		t.Fatal(out, err)
	}
	if out, err := tool(t, w, "list", "bob"); err != nil || !strings.HasPrefix(out, "[unknown]\t") {
		t.Errorf("of an empty backup: %q, %v", out, err)
	}
}

// Names are printed without unneeded escapes.
func TestJSONEscapesLittle(t *testing.T) {
	w := tooltest.New(t, "one")
	w.Sync(tooltest.NewMailbox("user.a&b"))
	for _, j := range []string{"-j", "--ndjson"} {
		if out, err := tool(t, w, "list", j); err != nil || !strings.Contains(out, `"a&b"`) {
			t.Errorf("%q, %v", out, err)
		}
	}
}
