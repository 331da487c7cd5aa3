package restore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// anne has three messages in INBOX, one of them expunged, a folder with children, a
// deleted folder, and one message in two folders.
func anne(t *testing.T) (*restoretest.Backup, map[string]*restoretest.Box) {
	b := restoretest.New(t, "anne")
	boxes := map[string]*restoretest.Box{}
	for _, n := range []string{"user.anne", "user.anne.Work", "user.anne.Work.2026", "user.anne.Workshop", "DELETED.user.anne.Old.65550A1B"} {
		boxes[n] = b.Box(n)
	}
	for i := range 3 {
		boxes["user.anne"].Deliver(restoretest.Mail(fmt.Sprint("m", i)), 1700000000+int64(i)*3600, `\Seen`)
	}
	boxes["user.anne.Work"].Deliver(restoretest.Mail("m0"), 1700000000)
	boxes["user.anne.Work.2026"].Deliver(restoretest.Mail("w"), 1700000000)
	boxes["DELETED.user.anne.Old.65550A1B"].Deliver(restoretest.Mail("old"), 1700000000)
	b.Sync()
	boxes["user.anne"].Set(2, `\Seen`, `\Deleted`, `\Expunged`)
	b.Sync()
	return b, boxes
}

// chosen formats a selection as one line.
func chosen(t *testing.T, s *restore.Source, o restore.Options) string {
	t.Helper()
	o.DeletedPrefix = "DELETED"
	o.AdminForm = cyrus.AdminForm{UnixHierarchySep: true}
	sel, err := s.Select(o)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range sel.Folders {
		var uids []string
		for _, r := range f.Messages {
			uids = append(uids, fmt.Sprint(r.UID))
		}
		out = append(out, strings.TrimPrefix(f.Name, "user.anne")+":"+strings.Join(uids, ","))
	}
	slices.Sort(out)
	for range sel.Unknown {
		out = append(out, "unknown")
	}
	return strings.Join(out, " ")
}

func TestSelect(t *testing.T) {
	b, boxes := anne(t)
	s := b.Source(time.Time{})
	expunged := boxes["user.anne"].Records[1].GUID.String()
	twice := boxes["user.anne"].Records[0].GUID.String()
	deleted := boxes["DELETED.user.anne.Old.65550A1B"].Records[0].GUID.String()
	for _, c := range []struct {
		about string
		o     restore.Options
		want  string
	}{
		{"all live mailboxes", restore.Options{All: true}, ".Work.2026:1 .Work:1 .Workshop: :1,3"},
		{"all, deleted ones under their names", restore.Options{All: true, KeepDeletedPrefix: true}, ".Work.2026:1 .Work:1 .Workshop: :1,3 DELETED.user.anne.Old.65550A1B:1"},
		{"all deleted", restore.Options{All: true, Deleted: restore.Only}, ".Old:1 :2"},
		{"a mailbox with its expunged messages", restore.Options{Objects: []string{"user/anne"}}, ":1,2,3"},
		{"the same in its internal form", restore.Options{Objects: []string{"user.anne"}}, ":1,2,3"},
		{"a mailbox without deleted messages", restore.Options{Objects: []string{"user/anne"}, Deleted: restore.Without}, ":1,3"},
		{"a mailbox, deleted messages only", restore.Options{Objects: []string{"user/anne"}, Deleted: restore.Only}, ":2"},
		{"live messages only", restore.Options{Objects: []string{"user/anne"}, LiveOnly: true}, ":1,3"},
		{"recursive", restore.Options{Objects: []string{"user/anne/Work"}, Recursive: true}, ".Work.2026:1 .Work:1"},
		{"recursive over all", restore.Options{Objects: []string{"user/anne"}, Recursive: true, LiveOnly: true}, ".Old:1 .Work.2026:1 .Work:1 .Workshop: :1,3"},
		{"recursive, without deleted", restore.Options{Objects: []string{"user/anne"}, Recursive: true, Deleted: restore.Without}, ".Work.2026:1 .Work:1 .Workshop: :1,3"},
		{"a deleted folder, without deleted", restore.Options{Objects: []string{"user/anne/Old", deleted}, Deleted: restore.Without}, ""},
		{"a deleted folder by its name", restore.Options{Objects: []string{"user/anne/Old"}}, ".Old:1"},
		{"a deleted folder by its current name", restore.Options{Objects: []string{"DELETED/user/anne/Old/65550A1B"}}, ".Old:1"},
		{"by uniqueid", restore.Options{Objects: []string{boxes["user.anne.Work"].UniqueID}}, ".Work:1"},
		{"an expunged message by GUID", restore.Options{Objects: []string{expunged}}, ":2"},
		{"an expunged message by GUID, without deleted", restore.Options{Objects: []string{expunged}, Deleted: restore.Without}, ":"},
		{"a message in two mailboxes", restore.Options{Objects: []string{strings.ToUpper(twice)}}, ".Work:1 :1"},
		{"into one", restore.Options{Objects: []string{twice, "user/anne"}, Into: "user.anne.X"}, ".X:1,2,3,1"},
		{"to another name", restore.Options{All: true, Moves: []restore.Move{{"user.anne.Work", "user.anne.W"}, {"user.anne.Work.2026", "user.anne.Now"}}}, ".Now:1 .W:1 .Workshop: :1,3"},
		{"to another user", restore.Options{Objects: []string{deleted, "user/anne/Work"}, Moves: []restore.Move{{"user.anne", "user.bob"}}}, "user.bob.Old:1 user.bob.Work:1"},
		{"a message of a deleted folder", restore.Options{Objects: []string{deleted}}, ".Old:1"},
		{"unknown objects", restore.Options{Objects: []string{"user/anne/None", strings.Repeat("0", 40), strings.Repeat("a", 24)}}, "unknown unknown unknown"},
		{"a window of delivery", restore.Options{All: true, Since: time.Unix(1700007000, 0), Until: time.Unix(1700008000, 0)}, ":3"},
		{"the newest first", restore.Options{All: true, NotBefore: time.Unix(1700007000, 0)}, ".Work.2026: .Work: .Workshop: :3"},
		{"a window of deletion", restore.Options{All: true, Since: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}, ":2"},
		{"a window of deletion, not delivery", restore.Options{All: true, Deleted: restore.Only, Until: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}, ".Old:1"},
		{"a folder deleted in a window", restore.Options{All: true, Since: time.Unix(0x65550A1B, 0), Until: time.Unix(0x65550A1B+1, 0)}, ".Old:1"},
	} {
		if got := chosen(t, s, c.o); got != c.want {
			t.Errorf("%s: %q, want %q", c.about, got, c.want)
		}
	}
}

func TestSelectDropsExpunged(t *testing.T) {
	b, _ := anne(t)
	for keep, want := range map[bool][]string{false: {`\Seen`}, true: {`\Seen`, `\Deleted`}} {
		s := b.Source(time.Time{})
		s.KeepDeleted = keep
		m, err := s.Message(s.Ref(b.Boxes[0].UniqueID, 2))
		if err != nil {
			t.Fatal(err)
		}
		if !m.Deleted || m.Expunged == 0 || !slices.Equal(m.Flags, want) {
			t.Errorf("deleted %v at %d, flags %v, want %v", m.Deleted, m.Expunged, m.Flags, want)
		}
	}
}

// With -M, the children of a mailbox are found by its own name, however it was named.
func TestSelectBelowIntoOne(t *testing.T) {
	b, boxes := anne(t)
	for _, word := range []string{"user/anne/Work", boxes["user.anne.Work"].UniqueID} {
		o := restore.Options{Objects: []string{word}, Recursive: true, Into: "user.anne.X"}
		if got, want := chosen(t, b.Source(time.Time{}), o), ".X:1,1"; got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// Names are accepted as the tools print them and as people read them.
func TestSelectOddNames(t *testing.T) {
	b := restoretest.New(t, "anne")
	for _, n := range []string{"user.anne.Entw&APw-rfe", "user.anne.R&-D"} {
		b.Box(n).Deliver(restoretest.Mail(n), 1700000000)
	}
	b.Sync()
	for word, want := range map[string]string{
		"user/anne/Entwürfe": ".Entw&APw-rfe:1", "user.anne.Entw&APw-rfe": ".Entw&APw-rfe:1", "user/anne/R&D": ".R&-D:1",
	} {
		if got := chosen(t, b.Source(time.Time{}), restore.Options{Objects: []string{word}}); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// A message that was expunged before its folder was deleted is not restored with the folder.
func TestWindowOfFolder(t *testing.T) {
	b := restoretest.New(t, "anne")
	box := b.Box("DELETED.user.anne.Old." + fmt.Sprintf("%X", time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC).Unix()))
	box.Deliver(restoretest.Mail("kept"), 1700000000)
	box.Deliver(restoretest.Mail("expunged"), 1700000000)
	b.Sync()
	box.Set(2, `\Expunged`)
	b.Sync()
	for _, deleted := range []restore.Deleted{restore.ByObject, restore.Only} {
		o := restore.Options{All: true, Deleted: deleted, Since: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}
		if got := chosen(t, b.Source(time.Time{}), o); got != ".Old:1" {
			t.Errorf("%d: %q", deleted, got)
		}
	}
}
