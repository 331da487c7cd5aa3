package cyrbackup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// odd is a user with folders with special names, items of these folders, and a subject that is
// not UTF-8.
func odd(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	drafts, space, dot := tooltest.NewMailbox("user.anne.Entw&APw-rfe"), tooltest.NewMailbox("user.anne.My Folder"), tooltest.NewMailbox("user.anne.a^b")
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	drafts.Deliver(tooltest.Mail("Gr\xfc\xdfe", "bob@example.org", 300), day)
	space.Deliver(tooltest.Mail("esc \x1b[31m\u009b31m", "bob@example.org", 300), day)
	w.Sync(drafts, space, dot)
	w.Do(func(s *session.Session) error { return s.ApplySub(t.Context(), "anne", space.Name, true) })
	w.Do(func(s *session.Session) error {
		return s.ApplyQuota(t.Context(), cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(1024))}})
	})
	w.Do(func(s *session.Session) error {
		return s.ApplySeen(t.Context(), cyrus.Seen{UserID: "anne", UniqueID: space.UniqueID, Fields: []dlist.Pair{dlist.P("LASTUID", dlist.N(1))}})
	})
	return w
}

// A name can be given in the administrator's form, in UTF-8, or as printed.
func TestNamesOnTheCommandLine(t *testing.T) {
	w := odd(t)
	for _, argv := range [][]string{
		{"anne", "show", "mailboxes", "user/anne/Entwürfe"},
		{"anne", "show", "mailboxes", "user.anne.Entw&APw-rfe"},
		{"anne", "find", "--json", "mailbox:user/anne/Entw*"},
		{"anne", "find", "--json", "mailbox:user.anne.Entw*"},
		{"anne", "find", "--json", "mailbox:user/anne/entwürfe", "mailbox:user/anne/Entwürfe"},
		{"anne", "log", "user/anne/Entwürfe"},
		{"-m", "user/anne/Entwürfe", "--json", "find", "from:bob", "mailbox:*Entw*"},
		{"-m", "user.anne.Entw&APw-rfe", "show", "mailboxes", "user.anne.Entw&APw-rfe"},
		{"-f", "default:user/anne", "log", "user/anne/Entwürfe"},
		{"-f", "backups/user/anne/", "log", "user/anne/Entwürfe"},
	} {
		if out, err := tool(t, w, argv...); err != nil || !strings.Contains(out, "user.anne.Entw&APw-rfe") {
			t.Errorf("%s: %q, %v", argv, out, err)
		}
	}
	out, err := tool(t, w, "-v", "anne", "list", "mailboxes")
	if err != nil || !strings.Contains(out, "  user.anne.Entw&APw-rfe  user/anne/Entwürfe\n") || !strings.Contains(out, "  user.anne.a^b  user/anne/a.b\n") {
		t.Errorf("%q, %v", out, err)
	}
}

// A missing mailbox is an error, but the others are shown.
func TestMissingNames(t *testing.T) {
	w := odd(t)
	for _, argv := range []string{"anne show mailboxes user/anne/a.b user/anne/None", "anne show messages " + strings.Repeat("0", 40)} {
		if out, err := tool(t, w, strings.Fields(argv)...); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "stderr: cyr_backup: ") {
			t.Errorf("%s: %q, %v", argv, out, err)
		}
	}
	if out, err := tool(t, w, "anne", "log", "user/anne/None"); err == nil || !strings.Contains(err.Error(), "user/anne/None: no such mailbox") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := tool(t, w, "anne", "log", "--since", "2026-11-20 13:00", "user/anne/a.b"); err != nil || out != "" {
		t.Errorf("nothing has happened to it: %q, %v", out, err)
	}
}

// The log of one mailbox also has its items.
func TestLogOfItems(t *testing.T) {
	w := odd(t)
	for name, want := range map[string]string{
		"user/anne/My Folder": "subscribed user.anne.My Folder",
		"user.anne.My Folder": "seen state of anne",
		"user/anne":           "quota of user.anne: storage 1024 KiB (1.0 MiB)",
	} {
		if out, err := tool(t, w, "anne", "log", name); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

func TestFindInOldBytes(t *testing.T) {
	w := odd(t)
	for _, text := range []string{"GRÜSSE", "grüße"} {
		if out, err := tool(t, w, "anne", "find", "subject:"+text); err != nil || !strings.HasSuffix(out, "  Grüße\n") {
			t.Errorf("%s: %q, %v", text, out, err)
		}
	}
	// No control characters are printed.
	if out, err := tool(t, w, "anne", "find", "subject:esc"); err != nil || !strings.HasSuffix(out, "  esc \\x1b[31m\\u009b31m\n") {
		t.Errorf("%q, %v", out, err)
	}
}

// A printed time, with seconds, can be used as an argument.
func TestMomentsAsPrinted(t *testing.T) {
	w := tooltest.New(t, "default")
	w.Now = w.Now.Add(300 * time.Millisecond)
	w.Sync(tooltest.NewMailbox("user.anne"))
	_, err := tool(t, w, "anne", "--at", "2026-11-20 12:00:59", "list", "mailboxes")
	if err == nil || !strings.Contains(err.Error(), "of 2026-11-20 12:01:00") {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"anne", "--at", "2026-11-20 12:01:00", "list", "mailboxes"},
		{"anne", "log", "--since", "2026-11-20 12:01:00", "--until", "2026-11-20 12:01:00"},
		{"anne", "diff", "--from", "2026-11-20 12:00:00", "--to", "2026-11-20 12:01:00"},
	} {
		if out, err := tool(t, w, argv...); err != nil || !strings.Contains(out, "user.anne") {
			t.Errorf("%s: %q, %v", argv, out, err)
		}
	}
	for _, argv := range [][]string{
		{"anne", "--at", "2200-01-01", "list", "mailboxes"}, {"anne", "log", "--since", "2200-01-01"},
		{"anne", "log", "--since", "2026-11-20", "--until", "2026-11-19"}, {"anne", "diff", "--from", "2026-11-20", "--to", "2026-11-19"},
	} {
		var u *cli.UsageError
		if _, err := tool(t, w, argv...); !errors.As(err, &u) {
			t.Errorf("%s: %v, want a usage error", argv, err)
		}
	}
}

// A look into the old partition of a moved backup gives a warning.
func TestOldPartition(t *testing.T) {
	w := tooltest.New(t, "one", "two")
	w.Sync(tooltest.NewMailbox("user.anne"))
	from := 0
	for i, p := range w.Parts {
		if f, err := repository.FindPath(t.Context(), p, "user/anne"); err == nil && f != nil {
			from = i
		}
	}
	dest, err := w.Set.Partition(w.Parts[1-from].Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Move(t.Context(), w.Set.Configs(), repository.UserName("anne"), dest, repository.LockOptions{Owner: "the test", Now: func() time.Time { return w.Now }}, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "anne", "list", "mailboxes"); err != nil || strings.Contains(out, "stderr") {
		t.Errorf("%q, %v", out, err)
	}
	w.Parts = w.Parts[from : from+1]
	if out, err := tool(t, w, "anne", "list", "mailboxes"); err != nil || !strings.Contains(out, "stderr: cyr_backup: warning: the backup of user anne was moved out of partition "+w.Parts[0].Name) {
		t.Errorf("%q, %v", out, err)
	}
}
