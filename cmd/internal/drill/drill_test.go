package drill

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/objstore"
)

// world is a backup of two mailboxes with mail, and one without.
func world(t *testing.T) *restoretest.Backup {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	inbox.Deliver(restoretest.Mail("one"), 1600000000, `\Seen`, "$Label1")
	inbox.Deliver(restoretest.Mail("one"), 1600000001)
	inbox.Deliver(restoretest.Mail("gone"), 1600000002)
	inbox.Deliver(restoretest.Mail(strings.Repeat("long ", 4000)), 1600000003, `\Flagged`)
	inbox.Set(3, `\Expunged`)
	b.Box("user.anne.Entw&APw-rfe.a^b").Deliver(restoretest.Mail("two"), 1600000004)
	b.Box("user.anne.a/b")
	b.Sync()
	return b
}

// problems collects what a drill reports.
type problems struct{ list, notes []string }

func (p *problems) options(dir string) Options {
	return Options{Scratch: dir, Now: time.Now(), Clock: time.Now, DefaultDomain: "internal", DeletedPrefix: "DELETED",
		Problem: func(err error) { p.list = append(p.list, err.Error()) }, Note: func(s string) { p.notes = append(p.notes, s) }}
}

func TestDrill(t *testing.T) {
	b, dir, p := world(t), t.TempDir(), new(problems)
	out, err := Run(t.Context(), b.Found(), p.options(dir))
	if err != nil || len(p.list)+len(p.notes) > 0 {
		t.Fatal(err, p)
	}
	if out.Mailboxes != 3 || out.Messages != 4 || out.Bytes < 20000 || out.Problems != 0 || out.Took <= 0 || out.AsOf.IsZero() {
		t.Errorf("%+v", out)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Each change to the restored files is found.
func TestEachDifferenceIsFound(t *testing.T) {
	eml := func(dir string, uid string) string {
		found, _ := filepath.Glob(filepath.Join(dir, "INBOX", uid+"-*.eml"))
		if len(found) == 0 {
			found, _ = filepath.Glob(filepath.Join(dir, uid+"-*.eml"))
		}
		if len(found) != 1 {
			t.Fatalf("%s: %v", uid, found)
		}
		return found[0]
	}
	rewrite := func(path, old, now string) {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), old) {
			t.Fatalf("%s: %v; no %q in %s", path, err, old, b)
		}
		info, err := os.Stat(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(b), old, now, 1)), 0o600)
		}
		if err == nil {
			err = os.Chtimes(path, time.Time{}, info.ModTime())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		change func(dir string)
		want   string
	}{
		"bytes": {func(dir string) { rewrite(eml(dir, "0000000001"), "one", "eno") }, "user.anne uid 1 (message"},
		"date": {func(dir string) {
			if err := os.Chtimes(eml(dir, "0000000001"), time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, "has other date"},
		"flag": {func(dir string) {
			rewrite(filepath.Join(filepath.Dir(eml(dir, "0000000001")), "messages.ndjson"), `\\Seen`, `\\Draft`)
		}, "has other flags"},
		"uid": {func(dir string) {
			rewrite(filepath.Join(filepath.Dir(eml(dir, "0000000001")), "messages.ndjson"), `"uid":2`, `"uid":7`)
		}, "user.anne uid 2: was not restored"},
		"file":   {func(dir string) { _ = os.Remove(eml(dir, "0000000004")) }, "user.anne uid 4"},
		"folder": {func(dir string) { rewrite(filepath.Join(dir, "folders.ndjson"), `"uniqueid":"`, `"uniqueid":"other`) }, "user.anne: was not restored"},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := world(t), new(problems)
			d := &directory{drill: &drill{Options: p.options(t.TempDir()), out: new(Result)}}
			d.dir = filepath.Join(d.Scratch, "mail")
			restoreAndCompare(t, b, d.drill, d, func() { test.change(d.dir) })
			p.check(t, d.drill, test.want)
		})
	}
}

// restoreAndCompare drills in a place whose content changes before it is compared.
func restoreAndCompare(t *testing.T, b *restoretest.Backup, d *drill, to place, change func()) {
	t.Helper()
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = end() }()
	if err := to.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	change()
	if err := to.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.reportMissing()
}

// check checks that a problem was reported, and that each one was counted.
func (p *problems) check(t *testing.T, d *drill, want string) {
	t.Helper()
	if !slices.ContainsFunc(p.list, func(s string) bool { return strings.Contains(s, want) }) || d.out.Problems != len(p.list) {
		t.Errorf("%d problems, want %q in %q", d.out.Problems, want, p.list)
	}
}

// A message that cannot be read is a problem, and the others are compared nevertheless.
func TestDamageIsAProblem(t *testing.T) {
	b, p := world(t), new(problems)
	b.Boxes[0].Deliver(restoretest.Mail(strings.Repeat("large ", 1<<18)), 1600000005)
	b.Sync()
	b.Fault(func(op, key string) error {
		if op == "get" && strings.HasPrefix(key, "packs/") {
			return objstore.ErrNotExist
		}
		return nil
	})
	out, err := Run(t.Context(), b.Found(), p.options(t.TempDir()))
	if err != nil || out.Messages != 4 || out.Problems != 1 || out.Problems != len(p.list) || !strings.Contains(p.list[0], "user.anne") {
		t.Errorf("%+v, %v, %q", out, err, p.list)
	}
}

// The CRC that the mail server reported differs from that of its records: a note.
func TestCRCOfMailServer(t *testing.T) {
	b, p, out := world(t), new(problems), Result{}
	d := &directory{drill: &drill{Options: p.options(t.TempDir()), out: &out}}
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = end() }()
	f := d.sel.Folders[0]
	d.compareCRC(f, f.From.CRC, "files")
	if len(p.list)+len(p.notes) > 0 {
		t.Error(p)
	}
	for i := range f.From.Fields {
		if f.From.Fields[i].Key == "SYNC_CRC" {
			f.From.Fields[i].Value.Str = "7"
		}
	}
	d.compareCRC(f, f.From.CRC, "files")
	d.compareCRC(f, cyrus.NewCRC(), "files")
	if len(p.notes) != 1 || len(p.list) != 1 {
		t.Error(p)
	}
}

func TestScratchWithoutRoom(t *testing.T) {
	if err := checkSpace(t.TempDir(), 1, 1<<60); err == nil || !strings.Contains(err.Error(), "--scratch") {
		t.Error(err)
	}
}

// What a killed drill has left is removed later, and what a running one uses is not.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	running, done, err := scratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = done() }()
	killed := filepath.Join(parent, scratchPrefix+"1")
	other := filepath.Join(parent, "other")
	for _, dir := range []string{killed, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * staleAge)
	for _, dir := range []string{killed, other, filepath.Dir(running)} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	sweep(parent)
	left, err := filepath.Glob(filepath.Join(parent, "*"))
	want := []string{filepath.Dir(running), other}
	slices.Sort(left)
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("left %q, %v; want %q", left, err, want)
	}
}
