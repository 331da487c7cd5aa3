package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// twoFolders is a backup with a folder that the tests obstruct, and another after it.
func twoFolders(t *testing.T) *restore.Source {
	b := restoretest.New(t, "anne")
	b.Box("user.anne.Sent").Deliver(restoretest.Mail("one"), 1600000000, "word")
	b.Box("user.anne.Zlast").Deliver(restoretest.Mail("two"), 1600000001)
	b.Sync()
	return b.Source(time.Time{})
}

const secret = "another user's file\n"

// obstacle is something that prevents the restore of a folder.
type obstacle struct {
	name, kind string
	at         string // in the destination
	link       string // "file" or "dir": a symbolic link to another user's; "" = a file with other content
	want       error
}

func obstacles() []obstacle {
	return []obstacle{
		{"maildir folder", "maildir", ".Sent", "dir", files.ErrLink},
		{"maildir cur", "maildir", ".Sent/cur", "dir", files.ErrLink},
		{"maildir tmp", "maildir", ".Sent/tmp", "dir", files.ErrLink},
		{"maildirfolder", "maildir", ".Sent/maildirfolder", "file", files.ErrLink},
		{"keywords link", "maildir", ".Sent/dovecot-keywords", "file", files.ErrLink},
		{"keywords", "maildir", ".Sent/dovecot-keywords", "", files.ErrExists},
		{"further keywords", "maildir", ".Sent/keywords.ndjson", "", files.ErrExists},
		{"maildir is a file", "maildir", ".Sent", "", files.ErrExists},
		{"eml folder", "eml", "Sent", "dir", files.ErrLink},
		{"eml index link", "eml", "Sent/messages.ndjson", "file", files.ErrLink},
		{"eml index", "eml", "Sent/messages.ndjson", "", files.ErrExists},
		{"mbox link", "mbox", "Sent.mbox", "file", files.ErrLink},
	}
}

// create creates the obstacle; links point to victim.
func (h obstacle) create(t *testing.T, to, victim string) {
	t.Helper()
	at := filepath.Join(to, h.at)
	err := os.MkdirAll(filepath.Dir(at), 0o700)
	switch {
	case err != nil:
	case h.link == "file":
		err = os.Symlink(filepath.Join(victim, "file"), at)
	case h.link == "dir":
		err = os.Symlink(victim, at)
	default:
		err = os.WriteFile(at, []byte(secret), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// No write follows a link in the destination, foreign files stay unchanged, and the next folder
// is restored. The dry run reports the same.
func TestObstructed(t *testing.T) {
	src := twoFolders(t)
	for _, h := range obstacles() {
		t.Run(h.name, func(t *testing.T) {
			to, victim := t.TempDir(), t.TempDir()
			if err := os.WriteFile(filepath.Join(victim, "file"), []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			h.create(t, to, victim)
			before := listing(t, to)
			for _, dry := range []bool{true, false} {
				sums, problems := troubled(t, src, files.Options{Kind: h.kind, Path: to, DryRun: dry})
				if len(problems) != 1 || !errors.Is(problems[0], h.want) || sums.Added != 1 || sums.Folders != 1 {
					t.Fatalf("dry run %v: %+v, %v", dry, sums, problems)
				}
				if got := listing(t, to); dry && len(got) != len(before) {
					t.Errorf("the dry run created %q", got)
				}
			}
			untouched(t, filepath.Join(victim, "file"))
			if got := listing(t, victim); len(got) != 1 {
				t.Errorf("the link's target has %q", got)
			}
			if h.link == "" {
				untouched(t, filepath.Join(to, h.at))
			}
		})
	}
}

func untouched(t *testing.T, name string) {
	t.Helper()
	if b, err := os.ReadFile(name); err != nil || string(b) != secret {
		t.Errorf("%s has %q, %v", name, b, err)
	}
}

func sieve(name string) cyrus.Sieve {
	return cyrus.Sieve{UserID: "anne", Filename: name + ".script", LastUpdate: 1700000000, Content: "keep;\n"}
}

// Account data replaces no existing file either.
func TestObstructedAccount(t *testing.T) {
	b := restoretest.New(t, "anne")
	b.Box("user.anne").Deliver(restoretest.Mail("one"), 1600000000)
	b.Sync()
	s := b.Session()
	if err := errors.Join(s.ApplySieve(t.Context(), sieve("../../out")), s.ApplySieve(t.Context(), sieve("plain")),
		s.ApplySub(t.Context(), "anne", "user.anne.Sent", true)); err != nil {
		t.Fatal(err)
	}
	src := b.Source(time.Time{})
	for kind, foreign := range map[string][]string{"maildir": {"subscriptions", "sieve/plain.sieve"}, "eml": {"account.json", "sieve/plain.sieve"}} {
		to := filepath.Join(t.TempDir(), "in")
		for _, name := range foreign {
			obstacle{at: name}.create(t, to, "")
		}
		sums, problems := troubled(t, src, files.Options{Kind: kind, Path: to})
		if len(problems) != len(foreign) || sums.Added != 1 {
			t.Errorf("%s: %+v, %v", kind, sums, problems)
		}
		for _, name := range foreign {
			untouched(t, filepath.Join(to, name))
		}
		if _, err := os.Stat(filepath.Join(to, "sieve", "%2E.%2F..%2Fout.sieve")); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if got := listing(t, filepath.Dir(to)); !strings.HasPrefix(got[0], "in/") || !strings.HasPrefix(got[len(got)-1], "in/") {
			t.Errorf("outside: %q", got)
		}
		if _, problems := troubled(t, src, files.Options{Kind: kind, Path: filepath.Join(t.TempDir(), "new")}); len(problems) != 0 {
			t.Errorf("%s: %v", kind, problems)
		}
	}
}

// A tar does not replace a link, nor a partial file that restore did not write.
func TestObstructedTar(t *testing.T) {
	src, dir, victim := twoFolders(t), t.TempDir(), t.TempDir()
	obstacle{at: "file"}.create(t, victim, "")
	obstacle{at: "a.tar", link: "file"}.create(t, dir, victim)
	obstacle{at: "b.tar.partial", link: "file"}.create(t, dir, victim)
	obstacle{at: "c.tar"}.create(t, dir, victim)
	obstacle{at: "d.tar.0123456789abcdef.partial"}.create(t, dir, victim) // of a run that was killed
	for name, want := range map[string]error{"a.tar": files.ErrLink, "b.tar": nil, "c.tar": files.ErrExists, "d.tar": nil} {
		if _, err := run(t, src, "tar", filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	untouched(t, filepath.Join(victim, "file"))
	untouched(t, filepath.Join(dir, "b.tar.partial"))
	untouched(t, filepath.Join(dir, "c.tar"))
	if got := strings.Join(listing(t, dir), " "); got != "a.tar b.tar b.tar.partial c.tar d.tar" {
		t.Errorf("%s", got)
	}
}

// The administrator may name a link as the destination.
func TestDestinationIsLink(t *testing.T) {
	src, dir := twoFolders(t), t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/real", 0o700), os.Symlink("real", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, src, "eml", dir+"/link"); err != nil || got.Added != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got := listing(t, dir+"/real"); len(got) != 5 {
		t.Errorf("%q", got)
	}
}

// Names that would leave the destination, or be too long, cost nothing.
func TestOddNames(t *testing.T) {
	b := restoretest.New(t, "mallory")
	long := strings.Repeat("a", 90) + "." + strings.Repeat("b", 90) + "." + strings.Repeat("c", 90)
	for _, n := range []string{"", "..", ".\x1b]0;x\x07\x1b[2Jx", ".a/../../../b", "...etc", ".^^", ".^^.x", ".Sent^mbox", ".Sent", ".account^json", ".sieve", ".folders^ndjson",
		".cur", ".messages^ndjson", "." + long, "." + long + "d", ".zlast"} {
		b.Box("user.mallory"+n).Deliver(restoretest.Mail("at "+n), 1600000000)
	}
	b.Sync()
	src := b.Source(time.Time{})
	for _, kind := range []string{"maildir", "mbox", "eml", "tar"} {
		dir := t.TempDir()
		to := filepath.Join(dir, "in", kind)
		for turn := range 3 {
			got, err := run(t, src, kind, to)
			if err != nil || got.Folders != len(b.Boxes) || turn == 0 && got.Added != len(b.Boxes) || turn > 0 && (got.Added != 0 || got.There != len(b.Boxes)) {
				t.Errorf("%s, run %d: %+v, %v", kind, turn, got, err)
			}
		}
		for _, f := range listing(t, dir) {
			if !strings.HasPrefix(f, "in/"+kind) || strings.ContainsAny(f, "\x1b\x07") {
				t.Errorf("%s: %q", kind, f)
			}
		}
	}
}

// Two restores into one directory would write everything twice.
func TestTwoAtOnce(t *testing.T) {
	src, dir := twoFolders(t), t.TempDir()
	busy := make(chan error, 1)
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	o := files.Options{Kind: "maildir", Path: dir, DefaultDomain: "internal", DeletedPrefix: "DELETED"}
	rep := restoretest.Report(t)
	rep.Progress = &cutAfter{n: 1, cancel: func() { busy <- files.New(src, restoretest.Report(t), o).Restore(t.Context(), sel.Folders, nil) }}
	if err := files.New(src, rep, o).Restore(t.Context(), sel.Folders, nil); err != nil {
		t.Error(err)
	}
	if err := <-busy; !errors.Is(err, files.ErrBusy) {
		t.Errorf("the second one: %v", err)
	}
}
