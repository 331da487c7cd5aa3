package cyrbackup

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// office is a user with a message of each kind that find must find.
func office(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	inbox := tooltest.NewMailbox("user.anne")
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	for i, text := range []string{
		"From: \"O\\\"Brien, Pat\" (the boss) <pat@\r\n example.org>\r\nTo: carol@x.y\r\nSubject: =?UTF-7?Q?+AOk-t+AOk-?=\r\nMessage-ID:\r\n <1.a@odd>\r\n\r\nx\r\n",
		"From: a@b\r\nCc: =?utf-8?q?Zo=C3=AB?= <zoe@x.y>\r\nSubject: \x1b$B@8$NF|K\\8l\x1b(B\r\n\r\nx\r\n",
		"From: a@b\r\nSubject: papers\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n" +
			"Content-Disposition: attachment;\r\n filename*=utf-8''Angebot%20Gr%C3%BC%C3%9Fe.pdf\r\n\r\nx\r\n--b--\r\n",
	} {
		inbox.Deliver([]byte(text), day.AddDate(0, 0, i))
	}
	w.Sync(inbox)
	return w
}

// uids returns the uids of the hits of a search.
func uids(t *testing.T, w *tooltest.World, criteria ...string) []uint32 {
	t.Helper()
	out, err := tool(t, w, append([]string{"anne", "--json", "find"}, criteria...)...)
	if err != nil {
		t.Fatalf("%q: %v", criteria, err)
	}
	var list []uint32
	for line := range strings.Lines(out) {
		var h struct{ UID uint32 }
		if strings.HasPrefix(line, "stderr:") {
			break
		}
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, h.UID)
	}
	return list
}

func TestFind(t *testing.T) {
	w := office(t)
	for criteria, want := range map[string][]uint32{
		"été": {1}, "subject:ÉTÉ": {1}, "subject:日本": {2}, "pat@example.org": {1}, `from:o"brien,_pat_<pat@`: {1}, "carol": {1},
		"zoë": {2}, "to:zoe@x.y": {2}, "text:a@b": {2, 3}, "a@b papers": {3}, "boss": {1},
		"message-id:<1.a@odd>": {1}, "message-id:1.A@odd": {1}, "message-id:a@odd": nil,
		"filename:angebot_GRÜSSE": {3}, "filename:.pdf filename:Angebot": {3}, "filename:.doc": nil, "has:attachment": {3},
		"has:attachment subject:été": nil, "since:2026-10-02 before:2026-10-03": {2}, "larger:150": {3}, "smaller:150 a@b": {2},
	} {
		words := strings.Fields(criteria)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "_", " ")
		}
		if got := uids(t, w, words...); !slices.Equal(got, want) {
			t.Errorf("%s: %d, want %d", criteria, got, want)
		}
	}
}

// A search of all backups prints the hits in readable backups, reports damaged ones, and stops
// at --max.
func TestFindEverywhere(t *testing.T) {
	w := office(t)
	bob, carl := tooltest.NewMailbox("user.bob"), tooltest.NewMailbox("user.carl.Post")
	for _, m := range []*tooltest.Mailbox{bob, carl} {
		m.Deliver(tooltest.Mail("papers too", "x@y", 300), time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC))
	}
	w.Sync(bob)
	w.Sync(carl)
	w.Sync(tooltest.NewMailbox("shared.things"))
	out, err := tool(t, w, "-A", "find", "papers")
	if err != nil || strings.Count(out, "\n") != 4 || !strings.Contains(out, "\ncarl    Post ") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := tool(t, w, "-A", "--max", "2", "--json", "find", "papers"); err != nil || strings.Count(out, `{"backup":`) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	// Only anne had mail at that time.
	if out, err := tool(t, w, "-A", "--at", "2026-11-20 12:01", "find", "papers"); err != nil || !strings.Contains(out, "anne ") || strings.Contains(out, "bob") {
		t.Errorf("%v\n%s", err, out)
	}
	w.Damage(history.LogKey("user/bob", 1))
	out, err = tool(t, w, "-A", "find", "papers")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "user bob") || !strings.Contains(out, "carl") || !strings.Contains(out, "anne") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A deleted folder, also with delayed deletion, is shown by its former name and as deleted.
func TestFindInDeletedFolders(t *testing.T) {
	w := tooltest.New(t, "default")
	sent := tooltest.NewMailbox("user.anne.Sent")
	late := tooltest.NewMailbox("DELETED.user.anne.Late.65536F3A")
	for _, m := range []*tooltest.Mailbox{sent, late} {
		m.Deliver(tooltest.Mail("in "+m.Name, "x@y", 300), time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC))
	}
	w.Sync(sent, late)
	w.Do(func(s *session.Session) error { return s.ApplyUnmailbox(t.Context(), "user.anne.Sent") })
	out, err := tool(t, w, "anne", "find", "x@y")
	if err != nil || !strings.Contains(out, "\nLate    1    2026-11-01 08:00:00 +0000") || !strings.Contains(out, "folder deleted 2023-11-14 12:59:38 +0000") || !strings.Contains(out, "folder deleted 2026-11-20 12:02:00 +0000") {
		t.Errorf("%v\n%s", err, out)
	}
}

// mailbox: accepts the names that find prints, the administrator's form, and internal names, also
// of deleted folders. It reports a name that matches none.
func TestFindByMailbox(t *testing.T) {
	w := tooltest.New(t, "default")
	sent, old := tooltest.NewMailbox("user.anne.Sent"), tooltest.NewMailbox("user.anne.Old.2023")
	late := tooltest.NewMailbox("DELETED.user.anne.Late.65536F3A")
	for _, m := range []*tooltest.Mailbox{sent, old, late} {
		m.Deliver(tooltest.Mail("in "+m.Name, "x@y", 300), time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC))
	}
	w.Sync(sent, old, late)
	for name, want := range map[string]string{
		"Sent": "Sent", "user/anne/Sent": "Sent", "user.anne.Sent": "Sent", "Old/2023": "Old/2023", "*2023": "Old/2023",
		"Late": "Late", "user/anne/Late": "Late", "DELETED*": "Late",
	} {
		out, err := tool(t, w, "anne", "find", "mailbox:"+name)
		if err != nil || strings.Count(out, "\n") != 2 || !strings.Contains(out, "\n"+want+" ") {
			t.Errorf("mailbox:%s: %v\n%s", name, err, out)
		}
	}
	if out, err := tool(t, w, "anne", "find", "mailbox:None"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "no mailbox of") {
		t.Errorf("%v\n%s", err, out)
	}
}
