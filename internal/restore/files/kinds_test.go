package files_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// A Maildir has letters for 26 keywords. Further keywords are reported, not dropped silently.
func TestMaildirManyKeywords(t *testing.T) {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	for i := range 69 {
		inbox.Deliver(restoretest.Mail(fmt.Sprint(i)), 1600000000, fmt.Sprint("k", i), "k0", "two\nlines")
	}
	b.Sync()
	src, to := b.Source(time.Time{}), t.TempDir()
	o := files.Options{Kind: "maildir", Path: to}
	dry := o
	dry.DryRun = true
	for _, o := range []files.Options{dry, o, o, dry} {
		if _, problems := troubled(t, src, o); len(problems) != 1 || !strings.Contains(problems[0].Error(), "user.anne: 69 messages with") {
			t.Errorf("dry run %v: %v", o.DryRun, problems)
		}
	}
	o.Lossy = true
	if got, err := runWith(t, src, o); err != nil || got.There != 69 || got.Problems != 0 {
		t.Errorf("lossy: %+v, %v", got, err)
	}
	words, err := os.ReadFile(filepath.Join(to, "dovecot-keywords"))
	if err != nil || bytes.Count(words, []byte("\n")) != 26 || !bytes.HasPrefix(words, []byte("0 k0\n1 k1\n")) {
		t.Errorf("%q, %v", words, err)
	}
	rest, err := os.ReadFile(filepath.Join(to, "keywords.ndjson"))
	if err != nil || bytes.Count(rest, []byte("\n")) != 69 {
		t.Fatalf("%s, %v", rest, err)
	}
	found := 0
	for line := range bytes.Lines(rest) {
		var r struct {
			File     string
			Keywords []string
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if at, err := filepath.Glob(filepath.Join(to, "cur", r.File+":2,*")); err != nil || len(at) != 1 {
			t.Errorf("%s: %q, %v", r.File, at, err)
		}
		found += len(r.Keywords)
	}
	if found != 69+69-26 { // "two\nlines" of each message, and keywords without a letter
		t.Errorf("found %d keywords", found)
	}
}

// Letters that Dovecot assigned keep their meaning, even if others are free.
func TestMaildirKeywordsOfDovecot(t *testing.T) {
	b := restoretest.New(t, "anne")
	b.Box("user.anne").Deliver(restoretest.Mail("one"), 1600000000, "Old", "new")
	b.Sync()
	to := t.TempDir()
	if err := os.WriteFile(to+"/dovecot-keywords", []byte("0 a\n2 old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, b.Source(time.Time{}), "maildir", to); err != nil {
		t.Fatal(err)
	}
	words, err := os.ReadFile(to + "/dovecot-keywords")
	if err != nil || string(words) != "0 a\n1 new\n2 old\n" {
		t.Errorf("%q, %v", words, err)
	}
	if at, _ := filepath.Glob(to + "/cur/*:2,bc"); len(at) != 1 {
		t.Errorf("%q", listing(t, to))
	}
}

// With mail that arrived after a restore, each kind keeps its files and loses nothing.
func TestNewMailSince(t *testing.T) {
	b := restoretest.New(t, "anne")
	inbox, dir := b.Box("user.anne"), t.TempDir()
	inbox.Deliver(restoretest.Mail("one"), 1600000000)
	b.Sync()
	src := b.Source(time.Time{})
	for _, kind := range []string{"maildir", "eml", "mbox", "tar"} {
		if _, err := run(t, src, kind, filepath.Join(dir, kind)); err != nil {
			t.Fatal(err)
		}
	}
	inbox.Deliver(restoretest.Mail("two"), 1600000001)
	b.Sync()
	src = b.Source(time.Time{})
	for _, kind := range []string{"maildir", "eml", "mbox"} {
		if got, err := run(t, src, kind, filepath.Join(dir, kind)); err != nil || got.Added != 1 || got.There != 1 {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
	if _, err := run(t, src, "tar", dir+"/tar"); !errors.Is(err, files.ErrExists) {
		t.Errorf("tar: %v", err)
	}
	if got := tarMessages(t, dir+"/tar"); len(got) != 1 {
		t.Errorf("the first tar has %d messages", len(got))
	}
	// Changed flags are in the middle of an mbox.
	inbox.Set(1, `\Seen`)
	b.Sync()
	if got, problems := troubled(t, b.Source(time.Time{}), files.Options{Kind: "mbox", Path: dir + "/mbox"}); len(problems) != 1 || got.Added != 0 {
		t.Errorf("mbox with other flags: %+v, %v", got, problems)
	}
}

// In a merged mailbox, two messages with the same uid and bytes stay two messages.
func TestIntoOneMailbox(t *testing.T) {
	b := restoretest.New(t, "anne")
	for _, name := range []string{"user.anne", "user.anne.Sent", "user.anne.Old"} {
		b.Box(name).Deliver(restoretest.Mail("one"), 1600000000)
	}
	b.Sync()
	src := b.Source(time.Time{})
	want := map[string]int{sum([]byte(restoretest.Mail("one"))): 3}
	for kind, read := range map[string]func(*testing.T, string) map[string]int{"maildir": messageFiles, "eml": messageFiles, "tar": tarMessages} {
		to := filepath.Join(t.TempDir(), kind)
		for range 3 {
			sel, err := src.Select(restore.Options{All: true, Into: "user.anne.All", DeletedPrefix: "DELETED"})
			if err != nil {
				t.Fatal(err)
			}
			o := files.Options{Kind: kind, Path: to, DefaultDomain: "internal", DeletedPrefix: "DELETED"}
			if err := files.New(src, restoretest.Report(t), o).Restore(t.Context(), sel.Folders, nil); err != nil {
				t.Fatal(err)
			}
			if got := read(t, to); !maps.Equal(got, want) {
				t.Errorf("%s: %v", kind, got)
			}
		}
	}
}

// Expunged messages are restored without \Deleted, once.
func TestExpungedToFiles(t *testing.T) {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	inbox.Deliver(restoretest.Mail("one"), 1600000000)
	inbox.Set(1, `\Seen`, `\Deleted`, `\Expunged`)
	b.Sync()
	src, dir := b.Source(time.Time{}), t.TempDir()
	for turn := range 3 {
		for _, kind := range []string{"maildir", "mbox", "eml", "tar"} {
			got, err := run(t, src, kind, filepath.Join(dir, kind), "user.anne")
			if err != nil || got.Added+got.There != 1 || (got.Added == 1) != (turn == 0) {
				t.Errorf("%s, run %d: %+v, %v", kind, turn, got, err)
			}
		}
	}
	if at, _ := filepath.Glob(dir + "/maildir/cur/*:2,S"); len(at) != 1 {
		t.Errorf("%q", listing(t, dir))
	}
	if m, err := os.ReadFile(dir + "/mbox"); err != nil || bytes.Contains(m, []byte("X-Status")) {
		t.Errorf("%s, %v", m, err)
	}
}
