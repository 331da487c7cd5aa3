package restore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// names returns the mailboxes of a selection.
func names(s *restore.Selection) (out []string) {
	for _, f := range s.Folders {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

// A second user called rita gets nothing from the first one. The first one's mail is restored
// on request, whatever the backup heard about the end of that account.
func TestLives(t *testing.T) {
	ctx := t.Context()
	for about, end := range map[string]func(*restoretest.Backup, *restoretest.Box) error{
		"the end is not reported": func(*restoretest.Backup, *restoretest.Box) error { return nil },
		"only a folder is reported, just before the next INBOX": func(b *restoretest.Backup, x *restoretest.Box) error {
			if x.Name == "user.rita" {
				return nil
			}
			return b.Session().ApplyUnmailbox(ctx, x.Name)
		},
		"deleted at once": func(b *restoretest.Backup, x *restoretest.Box) error {
			return b.Session().ApplyUnmailbox(ctx, x.Name)
		},
		"deleted with delay": func(b *restoretest.Backup, x *restoretest.Box) error {
			at := time.Date(2026, 11, 20, 12, 3, 0, 0, time.UTC)
			return b.Session().ApplyRename(ctx, cyrus.Rename{Old: x.Name, New: fmt.Sprintf("DELETED.%s.%X", x.Name, at.Unix()), UIDValidity: 1700000000})
		},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			b := restoretest.New(t, "rita")
			for _, name := range []string{"user.rita", "user.rita.Sent", "user.rita.Long ago"} {
				b.Box(name).Deliver(restoretest.Mail("first "+name), 1700000000)
			}
			b.Sync()
			err := errors.Join(b.Session().ApplyUnmailbox(ctx, "user.rita.Long ago"), b.Session().ApplySub(ctx, "rita", "user.rita.Sent", true))
			first := b.Boxes[:2]
			b.Boxes = first
			b.Sync()
			b.Sync()
			for _, x := range first {
				err = errors.Join(err, end(b, x))
			}
			if err != nil {
				t.Fatal(err)
			}
			b.Boxes = nil
			inbox := b.Box("user.rita")
			inbox.UniqueID, inbox.Validity = "of-the-second", uint32(time.Date(2026, 11, 20, 12, 3, 20, 0, time.UTC).Unix())
			inbox.Deliver(restoretest.Mail("second"), 1700000000)
			b.Sync()

			src := b.Source(time.Time{})
			o := restore.Options{All: true, DeletedPrefix: "DELETED"}
			sel := must(src.Select(o))(t)
			if n, _ := sel.Messages(); n != 1 || !slices.Equal(names(sel), []string{"user.rita"}) || !sel.End.IsZero() {
				t.Errorf("-a restores %q", names(sel))
			}
			if a := must(src.Account())(t); !a.Empty() {
				t.Errorf("-a also restores %+v", a)
			}
			o.Deleted = restore.Only
			if n, _ := must(src.Select(o))(t).Messages(); n != 0 {
				t.Errorf("-x restores %d messages of the first user", n)
			}
			sel = must(src.Select(restore.Options{Objects: []string{"user.rita.Sent"}, DeletedPrefix: "DELETED"}))(t)
			if len(sel.Folders) != 0 || len(sel.Unknown) != 1 || !strings.Contains(sel.Unknown[0].Error(), "--life 1") {
				t.Errorf("a mailbox of an earlier life, by name: %q, %v", names(sel), sel.Unknown)
			}
			g := must(src.Deletions(restore.Options{All: true, DeletedPrefix: "DELETED"}, nil))(t)
			if g.Lost != 0 {
				t.Errorf("deletions of the second user: %+v", g)
			}

			last, _ := must(src.Lives())(t).Last(1)
			next := b.SourceOf(history.Moment{Number: last + 1}).Time()
			src = b.SourceOf(history.Moment{Number: last})
			o = restore.Options{All: true, DeletedPrefix: "DELETED", AtEnd: true, NextLife: next, LiveOnly: true}
			sel = must(src.Select(o))(t)
			if n, _ := sel.Messages(); n != 2 || !slices.Equal(names(sel), []string{"user.rita", "user.rita.Sent"}) {
				t.Errorf("--life 1 restores %q, %d messages", names(sel), n)
			}
			if a := must(src.AccountAtEnd(sel.End))(t); len(a.Subs) != 1 || len(a.Annotations) != 0 {
				t.Errorf("--life 1 also restores %+v", a)
			}
		})
	}
}

// must returns a function that fails the test on an error and returns the value otherwise.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
