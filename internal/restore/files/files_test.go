package files_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

func source(t *testing.T) *restore.Source {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	inbox.Deliver(restoretest.Mail("one"), 1600000000, `\Seen`, `\Answered`, "$Label1")
	inbox.Deliver(restoretest.Mail("one"), 1600000001)
	inbox.Deliver("Subject: quoted\r\n\r\n>From a\r\nFrom b\r\nfrom c\r\nno end", 1600000002, `\Flagged`, `\Deleted`, `\Draft`)
	b.Box("user.anne.Entw&APw-rfe.a^b").Deliver(restoretest.Mail("two"), 1600000003)
	b.Box("user.anne.a/b")
	b.Sync()
	return b.Source(time.Time{})
}

func run(t *testing.T, src *restore.Source, kind, path string, objects ...string) (restore.Sums, error) {
	t.Helper()
	return runWith(t, src, files.Options{Kind: kind, Path: path}, objects...)
}

func runWith(t *testing.T, src *restore.Source, o files.Options, objects ...string) (restore.Sums, error) {
	t.Helper()
	sel, err := src.Select(restore.Options{All: objects == nil, Objects: objects, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	rep := restoretest.Report(t)
	o.DefaultDomain, o.DeletedPrefix = "internal", "DELETED"
	d := files.New(src, rep, o)
	err = d.Restore(t.Context(), sel.Folders, nil)
	return rep.Sums(), err
}

// troubled runs a restore that reports problems.
func troubled(t *testing.T, src *restore.Source, o files.Options, objects ...string) (restore.Sums, []error) {
	t.Helper()
	sel, err := src.Select(restore.Options{All: objects == nil, Objects: objects, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	var problems []error
	rep := &restore.Report{Progress: restoretest.Progress{}, Problem: func(err error) { problems = append(problems, err) }}
	o.DefaultDomain, o.DeletedPrefix = "internal", "DELETED"
	account, err := src.Account()
	if err != nil {
		t.Fatal(err)
	}
	if !sel.Account {
		account = nil
	}
	if err := files.New(src, rep, o).Restore(t.Context(), sel.Folders, account); err != nil {
		t.Fatal(err)
	}
	return rep.Sums(), problems
}

// listing returns every file below a directory, except those without messages.
func listing(t *testing.T, dir string) []string {
	var out []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const one = "/cur/1600000000."

func TestMaildir(t *testing.T) {
	t.Parallel()
	src, dir := source(t), t.TempDir()
	for turn, want := range []restore.Sums{{Added: 4, Folders: 3}, {There: 4, Folders: 3}} {
		got, err := run(t, src, "maildir", dir)
		if got.Bytes = 0; err != nil || got != want {
			t.Fatalf("turn %d: %+v, %v, want %+v", turn, got, err, want)
		}
		var names []string
		for _, f := range listing(t, dir) {
			if i := strings.Index(f, "cur/"); i >= 0 {
				_, info, _ := strings.Cut(f, ":")
				names = append(names, f[:i+4]+f[i+4:i+14]+":"+info)
			}
		}
		wantNames := []string{".Entw&APw-rfe.a^b/cur/1600000003:2,", "cur/1600000000:2,RSa", "cur/1600000001:2,", "cur/1600000002:2,DFT"}
		if !slices.Equal(names, wantNames) {
			t.Fatalf("turn %d: %q", turn, names)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	if err != nil || string(b) != "0 $Label1\n" {
		t.Errorf("keywords: %q, %v", b, err)
	}
	matches, err := filepath.Glob(dir + one + "*")
	if err != nil || len(matches) != 1 {
		t.Fatal(matches, err)
	}
	info, err := os.Stat(matches[0])
	if err != nil || info.ModTime().Unix() != 1600000000 {
		t.Errorf("time %v, %v", info.ModTime(), err)
	}
	// A file that a power cut truncated is written again.
	if err := os.Truncate(matches[0], 3); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, src, "maildir", dir); err != nil || got.Added != 1 || got.There != 3 {
		t.Errorf("after truncation: %+v, %v", got, err)
	}
}

func TestMbox(t *testing.T) {
	t.Parallel()
	src, dir := source(t), t.TempDir()
	for range 2 { // the second time an identical file exists
		if _, err := run(t, src, "mbox", dir+"/in.mbox", "user.anne"); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(dir + "/in.mbox")
	if err != nil {
		t.Fatal(err)
	}
	want := "\nFrom MAILER-DAEMON Sun Sep 13 12:26:42 2020 +0000\nStatus: O\nX-Status: FTD\nSubject: quoted\n\n>>From a\n>From b\nfrom c\nno end\n\n"
	if got := string(b); !strings.HasSuffix(got, want) || !strings.Contains(got, "Status: RO\nX-Status: A\nX-Keywords: $Label1\nX-IMAPbase: 1 0000000000 $Label1\n") ||
		strings.Count("\n"+got, "\nFrom MAILER-DAEMON ") != 3 {
		t.Errorf("%s", got)
	}
	if err := os.WriteFile(dir+"/in.mbox", []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	sums, problems := troubled(t, src, files.Options{Kind: "mbox", Path: dir + "/in.mbox"}, "user.anne")
	if len(problems) != 1 || !errors.Is(problems[0], files.ErrExists) || sums.Added != 0 {
		t.Errorf("over a different file: %+v, %v", sums, problems)
	}
	if b, err := os.ReadFile(dir + "/in.mbox"); err != nil || string(b) != "another" {
		t.Errorf("the other file has %q, %v", b, err)
	}
	if _, err := run(t, src, "mbox", dir+"/many"); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); !slices.Equal(got, []string{"in.mbox", "many/Entwürfe/a.b.mbox", "many/INBOX.mbox", "many/a%2Fb.mbox", "many/folders.ndjson"}) {
		t.Errorf("%q", got)
	}
}

func TestEMLAndTar(t *testing.T) {
	t.Parallel()
	src, dir := source(t), t.TempDir()
	if _, err := run(t, src, "eml", dir+"/eml"); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, src, "eml", dir+"/eml"); err != nil || got.There != 4 || got.Added != 0 {
		t.Errorf("again: %+v, %v", got, err)
	}
	for _, name := range []string{"x.tar", "x.tar.zst"} {
		for range 2 {
			if _, err := run(t, src, "tar", filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		got := untar(t, filepath.Join(dir, name))
		for _, f := range listing(t, dir+"/eml") {
			b, err := os.ReadFile(filepath.Join(dir, "eml", f))
			if err != nil || !bytes.Equal(b, got[f]) {
				t.Errorf("%s: %s in the tar is %.200q, in the directory %.200q, %v", name, f, got[f], b, err)
			}
			delete(got, f)
		}
		if len(got) > 0 {
			t.Errorf("%s: only in the tar: %v", name, got)
		}
	}
	b, err := os.ReadFile(dir + "/eml/INBOX/messages.ndjson")
	if err != nil || !strings.Contains(string(b), `"internaldate":"2020-09-13T12:26:40Z","flags":["\\Seen","\\Answered","$Label1"]`) {
		t.Errorf("%s, %v", b, err)
	}
}

func untar(t *testing.T, name string) map[string][]byte {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".zst") {
		z, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	out := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			out[h.Name] = b
		}
	}
}

func TestNamesStayBelow(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	for _, n := range []string{"user.anne.^^", "user.anne.^^.x", "user.anne." + strings.Repeat("long", 100)} {
		b.Box(n).Deliver(restoretest.Mail(fmt.Sprint(len(n))), 1600000000)
	}
	b.Sync()
	src, dir := b.Source(time.Time{}), t.TempDir()
	for _, kind := range []string{"eml", "mbox", "maildir", "tar"} {
		if _, err := run(t, src, kind, filepath.Join(dir, "in", kind)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside of the destination: %v, %v", entries, err)
	}
}

// A dry run reports what a run would do, whatever exists, and changes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	src := source(t)
	for _, kind := range []string{"maildir", "eml", "mbox", "tar"} {
		dir := filepath.Join(t.TempDir(), kind)
		o := files.Options{Kind: kind, Path: dir, DryRun: true}
		if got, err := runWith(t, src, o); err != nil || got.Added != 4 || got.Folders != 3 {
			t.Errorf("%s, empty destination: %+v, %v", kind, got, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the dry run created files", kind)
		}
		if kind == "mbox" || kind == "tar" { // written as a whole
			continue
		}
		if _, err := run(t, src, kind, dir, "user.anne"); err != nil {
			t.Fatal(err)
		}
		cut := listing(t, dir)
		for _, f := range cut {
			if strings.Contains(f, "160000000") && kind == "maildir" || strings.HasPrefix(f, "INBOX/0000000001-") {
				if err := os.Truncate(filepath.Join(dir, f), 1); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if got, err := runWith(t, src, o); err != nil || got.Added != 2 || got.There != 2 {
			t.Errorf("%s, some present: %+v, %v", kind, got, err)
		}
		if !slices.Equal(listing(t, dir), cut) {
			t.Errorf("%s: the dry run changed files", kind)
		}
	}
}

// A folder called INBOX below the INBOX is a different folder.
func TestInboxBelowInbox(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	for i, n := range []string{"user.anne", "user.anne.INBOX", "user.anne.Inbox.x"} {
		b.Box(n).Deliver(restoretest.Mail(fmt.Sprint(i)), 1600000000)
	}
	b.Sync()
	src, dir := b.Source(time.Time{}), t.TempDir()
	for _, kind := range []string{"eml", "mbox", "tar"} {
		if got, err := run(t, src, kind, filepath.Join(dir, kind)); err != nil || got.Added != 3 {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
	got := listing(t, filepath.Join(dir, "mbox"))
	if !slices.Equal(got, []string{"%49NBOX.mbox", "%49nbox/x.mbox", "INBOX.mbox", "folders.ndjson"}) {
		t.Errorf("%q", got)
	}
}

// The letters of keywords keep their meaning after a run that stopped within a folder.
func TestMaildirKeywordsAfterInterruptedRun(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	for i, word := range []string{"one", "two", "two"} {
		inbox.Deliver(restoretest.Mail(fmt.Sprint(i)), 1600000000+int64(i), word)
	}
	b.Sync()
	src, dir := b.Source(time.Time{}), t.TempDir()
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rep := restoretest.Report(t)
	rep.Progress = &cutAfter{n: 2, cancel: cancel}
	o := files.Options{Kind: "maildir", Path: dir, DefaultDomain: "internal", DeletedPrefix: "DELETED"}
	if err := files.New(src, rep, o).Restore(ctx, sel.Folders, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first run: %v", err)
	}
	if _, err := run(t, src, "maildir", dir); err != nil {
		t.Fatal(err)
	}
	words, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	if err != nil || string(words) != "0 one\n1 two\n" {
		t.Errorf("keywords: %q, %v", words, err)
	}
	var letters []string
	for _, f := range listing(t, dir) {
		if _, flags, ok := strings.Cut(f, ":2,"); ok {
			letters = append(letters, flags)
		}
	}
	if !slices.Equal(letters, []string{"a", "b", "b"}) {
		t.Errorf("letters: %q", letters)
	}
}

// cutAfter stops a run after so many messages.
type cutAfter struct {
	restoretest.Progress
	n      int
	cancel func()
}

func (c *cutAfter) Add(messages int, _ int64) {
	if c.n -= messages; c.n == 0 {
		c.cancel()
	}
}
