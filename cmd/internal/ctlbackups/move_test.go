package ctlbackups

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// spread makes backups of three users in two partitions.
func spread(t *testing.T) (*tooltest.World, map[string]*tooltest.Mailbox) {
	w := tooltest.New(t, "one", "two")
	boxes := map[string]*tooltest.Mailbox{}
	for _, user := range []string{"anne", "bob", "carol"} {
		m := tooltest.NewMailbox("user." + user)
		for i := range 5 {
			m.Deliver(tooltest.Mail(user+string(rune('0'+i)), "dave@example.org", 3000), time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC))
		}
		boxes[user] = m
		w.Sync(m)
	}
	return w, boxes
}

// at returns the partition of a user's backup.
func at(t *testing.T, parts []repository.Config, user string) string {
	t.Helper()
	f, err := repository.Find(t.Context(), parts, repository.UserName(user))
	if err != nil {
		t.Fatal(err)
	}
	return f.Partition.Name
}

func mustTool(t *testing.T, w *tooltest.World, want string, argv ...string) {
	t.Helper()
	out, err := tool(t, w, argv...)
	if err != nil || out != want {
		t.Errorf("ctl_backups %s: %q, %v; want %q", strings.Join(argv, " "), out, err, want)
	}
}

func TestMove(t *testing.T) {
	t.Parallel()
	w, boxes := spread(t)
	from, to := at(t, w.Parts, "anne"), "one"
	if from == to {
		to = "two"
	}
	mustTool(t, w, "move anne: ok\n", "move", "anne", to)
	if got := at(t, w.Parts, "anne"); got != to {
		t.Errorf("anne is in %s, want %s", got, to)
	}
	boxes["anne"].Flag(1, `\Seen`)
	w.Sync(boxes["anne"]) // the daemon uses the new partition
	mustTool(t, w, "verify anne: ok\n", "verify", "anne")
	if out, err := tool(t, w, "list"); err != nil || strings.Count(out, "anne") != 2 || strings.Count(out, "\n") != 3 {
		t.Errorf("list shows a backup that was moved other than once: %q, %v", out, err)
	}
	if out, err := tool(t, w, "move", "anne", to); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "already") {
		t.Errorf("to where it is: %q, %v", out, err)
	}
	if out, err := tool(t, w, "move", "anne", "three"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "backuppartition-three") {
		t.Errorf("to nowhere: %q, %v", out, err)
	}
	if out, err := tool(t, w, "move", "-A", from); err != nil || strings.Contains(out, "failed") {
		t.Errorf("all: %q, %v", out, err)
	}
	for user := range boxes {
		if got := at(t, w.Parts, user); got != from {
			t.Errorf("%s is in %s, want %s", user, got, from)
		}
		mustTool(t, w, "verify "+user+": ok\n", "verify", user)
	}
	mustTool(t, w, "", "move", "-A", from)
	mustTool(t, w, "", "move", "-P", "an", "bo", from)
	mustTool(t, w, "move anne: ok\n", "move", "-f", from+":user/anne", to)
	mustTool(t, w, "move anne: ok\n", "move", "-m", "user.anne.Sent", from)
}

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	w, boxes := spread(t)
	dir := filepath.Join(t.TempDir(), "out")
	mustTool(t, w, "export anne: ok\nexport bob: ok\n", "export", "anne", "bob", dir)
	boxes["anne"].Deliver(tooltest.Mail("late", "dave@example.org", 300), time.Now())
	w.Sync(boxes["anne"])
	out, err := tool(t, w, "export", "-v", "anne", dir)
	if err != nil || !strings.HasPrefix(out, "export anne: ok\n  1 object, 0 messages") {
		t.Errorf("what is new: %q, %v", out, err)
	}
	for _, name := range []string{"repository.json", "README.txt", "backups/user/anne/backup.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "backups/user/carol")); err == nil {
		t.Error("carol's backup was exported too")
	}

	other := tooltest.New(t, "elsewhere")
	mustTool(t, other, "import anne: ok\nimport bob: ok\n", "import", dir)
	mustTool(t, other, "verify anne: ok\nverify bob: ok\n", "verify", "-A")
	boxes["anne"].Flag(2, `\Flagged`)
	other.Sync(boxes["anne"])
	mustTool(t, other, "verify anne: ok\n", "verify", "anne")
	if out, err := tool(t, other, "import", dir); !errors.Is(err, cli.ErrReported) || strings.Count(out, "exists already") != 2 {
		t.Errorf("again: %q, %v", out, err)
	}
	if out, err := tool(t, other, "import", t.TempDir()); err == nil || !strings.Contains(err.Error(), "repository.json") {
		t.Errorf("an empty directory: %q, %v", out, err)
	}
}

// An export was interrupted before it had put the newest commit. import refuses the copy, and so do verify
// --repair and another export. The next export finishes it.
func TestUnfinishedExport(t *testing.T) {
	t.Parallel()
	w, boxes := spread(t)
	dir := t.TempDir()
	boxes["anne"].Deliver(tooltest.Mail("late", "dave@example.org", 300), time.Now())
	w.Sync(boxes["anne"])
	mustTool(t, w, "export anne: ok\n", "export", "anne", dir)
	below := filepath.Join(dir, "backups/user/anne/log")
	list, err := os.ReadDir(below)
	if err != nil || len(list) < 2 {
		t.Fatalf("%v, %v: this test no longer covers its case", list, err)
	}
	newest := list[len(list)-1].Name()
	beside := filepath.Join(below, "copying-"+newest[:16]+".json")
	if err := errors.Join(os.Remove(filepath.Join(below, newest)), os.WriteFile(beside, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	refused := func(w *tooltest.World, argv ...string) {
		t.Helper()
		out, err := tool(t, w, argv...)
		if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "is not completely copied") || !strings.Contains(out, "docs/damage.md") {
			t.Errorf("ctl_backups %s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	other := tooltest.New(t, "elsewhere")
	refused(other, "import", dir)
	mustTool(t, w, "export anne: ok\n", "export", "anne", dir)
	if _, err := os.Stat(beside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", beside, err)
	}
	mustTool(t, other, "import anne: ok\n", "import", dir)
	mustTool(t, other, "verify anne: ok\n", "verify", "anne")

	_, err = other.Stores[0].Put(t.Context(), history.CopyingKey("user/anne", 99), strings.NewReader(history.CopyingBody), objstore.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range []string{"verify anne", "verify -q anne", "verify --repair anne", "verify --repair -n anne", "export anne " + t.TempDir()} {
		refused(other, strings.Fields(argv)...)
	}
}

func TestMissingDestination(t *testing.T) {
	w := tooltest.New(t, "one")
	for _, argv := range []string{"move", "move anne", "move -A", "export", "export anne", "export anne gopher://x", "move -A anne one"} {
		var usage *cli.UsageError
		if out, err := tool(t, w, strings.Fields(argv)...); !errors.As(err, &usage) {
			t.Errorf("%s: %q, %v; want a usage error", argv, out, err)
		}
	}
}

// After a backup, partitions are proposed, too.
func TestCompletionOfPartitions(t *testing.T) {
	config := filepath.Join(t.TempDir(), "imapd.conf")
	if err := os.WriteFile(config, []byte("configdirectory: /nowhere\nbackuppartition-warm: /nowhere/warm\nbackuppartition-cold: /nowhere/cold\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for argv, want := range map[string]string{"move anne ": "warm\ncold\n", "move anne co": "cold\n", "move -A ": "warm\ncold\n", "move ": "", "export anne ": ""} {
		out, err := tool(t, tooltest.New(t, "one"), append([]string{"__complete", "-C", config}, strings.Split(argv, " ")...)...)
		got := strings.Split(out[:strings.LastIndexByte(out, ':')], "\n")
		wanted := strings.Split(want, "\n")
		slices.Sort(got)
		slices.Sort(wanted)
		if err != nil || !slices.Equal(got, wanted) {
			t.Errorf("%q: %q, %v; want %q", argv, got, err, wanted)
		}
	}
}
