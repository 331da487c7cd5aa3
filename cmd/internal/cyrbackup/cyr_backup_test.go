package cyrbackup

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/session"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // times are printed in the local zone
	flag.Bool("update", false, "write the golden files")
	flag.Parse()
	os.Exit(m.Run())
}

// story is a user's history: 12:01 four messages, 12:02 flags and a folder, 12:03 an expunge,
// 12:04 the folder is renamed, 12:05 to 12:07 items, 12:08 a folder is deleted.
func story(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	inbox, sent := tooltest.NewMailbox("user.anne"), tooltest.NewMailbox("user.anne.Sent")
	for i, subject := range []string{"invoice 1", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "invoice 2", "large"} {
		size := 300
		if subject == "large" {
			size = 100_000
		}
		inbox.Deliver(tooltest.Mail(subject, fmt.Sprintf("bob%d@example.org", i), size), day.AddDate(0, 0, i))
	}
	w.Sync(inbox)
	inbox.Flag(1, `\Seen`)
	sent.Deliver(tooltest.Mail("invoice 1 again", "anne@example.org", 300), day)
	w.Sync(inbox, sent)
	inbox.Expunge(3)
	inbox.Flag(1, `\Flagged`)
	w.Sync(inbox)
	w.Do(func(s *session.Session) error {
		return s.ApplyRename(t.Context(), cyrus.Rename{Old: "user.anne.Sent", New: "user.anne.Post"})
	})
	w.Do(func(s *session.Session) error { return s.ApplySub(t.Context(), "anne", "user.anne.Post", true) })
	w.Do(func(s *session.Session) error {
		return s.ApplySieve(t.Context(), cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 5, Content: "keep;"})
	})
	w.Do(func(s *session.Session) error { return s.ApplyActivateSieve(t.Context(), "anne", "main.bc") })
	w.Do(func(s *session.Session) error { return s.ApplyUnmailbox(t.Context(), "user.anne.Post") })
	return w
}

// tool runs cyr_backup and returns what it wrote.
func tool(t *testing.T, w *tooltest.World, argv ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) {
		return w.Bucket("unixhierarchysep: yes\n"), nil
	}
	err := run(t.Context(), open, argv, &out, &errs)
	if errs.Len() > 0 {
		fmt.Fprintf(&out, "stderr: %s", errs.String())
	}
	return out.String(), err
}

func TestGolden(t *testing.T) {
	w := story(t)
	for name, argv := range map[string]string{
		"log.txt":               "anne log",
		"log-verbose.txt":       "-v anne log --until|2026-11-20 12:03",
		"log-mailbox.txt":       "anne log user/anne/Sent",
		"log-since.ndjson":      "anne log --json --since|2026-11-20 12:02",
		"diff-all.txt":          "anne diff --from|2026-11-19",
		"diff-middle.txt":       "anne diff --from|2026-11-20 12:01 --to|2026-11-20 12:03",
		"diff-late.ndjson":      "anne diff --json --from|2026-11-20 12:03",
		"find-subject.txt":      "anne find subject:invoice",
		"find-decoded.txt":      "anne find subject:grüße",
		"find-many.txt":         "anne find from:bob mailbox:user/anne since:2026-10-02 before:2026-10-04 smaller:1kB",
		"find-larger.txt":       "anne find larger:10kB",
		"find-word.txt":         "anne find bob0@EXAMPLE.org invoice",
		"find-everywhere.txt":   "-A find invoice",
		"find-nothing.txt":      "anne find nothing mailbox:user/anne",
		"find-nothing-all.txt":  "-A find nothing",
		"find-max.ndjson":       "anne --at|2026-11-20T12:02:00Z find mailbox:user/* --max=2 --json",
		"mailboxes-at.txt":      "anne --at|2026-11-20T12:03:59Z list mailboxes",
		"mailboxes-commit.json": "anne --commit 1 json mailboxes",
		"show-at.txt":           "anne --at|2026-11-20T12:02:30Z show mailboxes user/anne",
	} {
		t.Run(name, func(t *testing.T) {
			var words []string
			for _, a := range strings.Fields(strings.ReplaceAll(argv, " 12:", "_12:")) {
				a = strings.ReplaceAll(a, "_", " ")
				before, value, ok := strings.Cut(a, "|")
				words = append(words, before)
				if ok {
					words = append(words, value)
				}
			}
			got, err := tool(t, w, words...)
			if err != nil {
				t.Fatalf("%v: %v", words, err)
			}
			tooltest.Golden(t, name, got)
		})
	}
}

func TestUsage(t *testing.T) {
	w := story(t)
	for argv, want := range map[string]string{
		"anne":                              "name a backup and a command",
		"anne list":                         `"list" is not a command`,
		"anne --at soon list mailboxes":     "--at: \"soon\" is not a point in time",
		"anne --at now --commit 1 list all": "only one of --at and --commit",
		"anne --commit 0 list all":          "commits are numbered from 1",
		"anne --since now list all":         "--since cannot be used with this command",
		"anne --at now log":                 "--at cannot be used with this command",
		"anne diff":                         "diff needs --from TIME",
		"anne find":                         "find needs a name",
		"anne find Re:":                     `"Re:" is not a criterion`,
		"anne find has:wings":               "only has:attachment exists",
		"anne find before:03/04/2026":       "write 2026-04-03 for 3 April, or 2026-03-04 for 4 March",
		"-A list mailboxes":                 "-A is only for find",
		"-A --commit 3 find x":              "--commit cannot be used with -A",
		"-A -m find x":                      "only one of -A, -u, -m and -f",
		"anne find size:3":                  `"size" is not a criterion`,
		"anne find before:soon":             "before: \"soon\" is not a point in time",
	} {
		_, err := tool(t, w, strings.Fields(argv)...)
		var u *cli.UsageError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", argv, err, want)
		}
	}
}

func TestMomentsWithoutAState(t *testing.T) {
	w := story(t)
	for argv, want := range map[string]string{
		"anne --at 2026-11-01 list mailboxes": "begins with commit 1 of 2026-11-20 12:01:00",
		"anne --commit 99 list mailboxes":     "missing from the log",
		"bob log":                             "no such backup",
	} {
		_, err := tool(t, w, strings.Fields(argv)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", argv, err, want)
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), cli.Open, []string{"--help"}, &out, io.Discard); err != nil || !strings.Contains(out.String(), "Examples:") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// Damaged bodies are reported on standard error; the other messages are found.
func TestFindOverADamagedPack(t *testing.T) {
	w := story(t)
	for key := range w.Keys("packs/") {
		w.Damage(key)
	}
	got, err := tool(t, w, "anne", "find", "subject:invoice")
	if !errors.Is(err, cli.ErrReported) && err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "stderr:") || !strings.Contains(got, "invoice 1") {
		t.Errorf("%s", got)
	}
}
