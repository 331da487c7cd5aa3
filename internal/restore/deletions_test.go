package restore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Deletions finds the moment with the most deleted messages, however they were deleted and
// whatever happened before.
func TestDeletions(t *testing.T) {
	all := restore.Options{All: true, DeletedPrefix: "DELETED"}
	inbox := restore.Options{Objects: []string{"user.anne"}, DeletedPrefix: "DELETED"}
	remove := func(b *restoretest.Backup, x *restoretest.Box) error {
		b.Boxes = b.Boxes[1:]
		return b.Session().ApplyUnmailbox(t.Context(), x.Name)
	}
	for about, c := range map[string]struct {
		lose func(*restoretest.Backup, *restoretest.Box) error
		o    restore.Options
		want restore.Deletions
	}{
		"a mailbox":                    {remove, all, restore.Deletions{Live: 1, Lost: 10, Recoverable: 10}},
		"a mailbox, asked for by name": {remove, inbox, restore.Deletions{Lost: 10, Recoverable: 10}},
		"a mailbox, with delay": {func(b *restoretest.Backup, x *restoretest.Box) error {
			b.Boxes = b.Boxes[1:]
			return b.Session().ApplyRename(t.Context(), cyrus.Rename{Old: x.Name, New: fmt.Sprintf("DELETED.user.anne.%X", time.Now().Unix()), UIDValidity: 1700000000})
		}, all, restore.Deletions{Live: 1, Lost: 10, Recoverable: 10}},
		"most messages": {func(_ *restoretest.Backup, x *restoretest.Box) error {
			for uid := range uint32(9) {
				x.Set(uid+1, `\Expunged`)
			}
			return nil
		}, inbox, restore.Deletions{Live: 1, Lost: 9, Recoverable: 9}},
		"one message, then more mail, then all of it": {func(b *restoretest.Backup, x *restoretest.Box) error {
			x.Set(1, `\Expunged`)
			b.Sync()
			x.Records = x.Records[1:] // the mail server cleans up, and does not send it again
			for i := range 15 {
				x.Deliver(restoretest.Mail(fmt.Sprint("more", i)), 1700000000)
			}
			b.Sync()
			for uid := range uint32(24) {
				x.Set(uid+2, `\Expunged`)
			}
			return nil
		}, inbox, restore.Deletions{Lost: 25, Recoverable: 24}},
		"a mailbox, and again after a restore": {func(b *restoretest.Backup, x *restoretest.Box) error {
			if err := remove(b, x); err != nil {
				return err
			}
			y := b.Box("user.anne")
			y.UniqueID = "again"
			for i := range 10 {
				y.Deliver(restoretest.Mail(fmt.Sprint(i)), 1700000000)
			}
			b.Sync()
			b.Boxes = b.Boxes[:1]
			return b.Session().ApplyUnmailbox(t.Context(), y.Name)
		}, all, restore.Deletions{Live: 1, Lost: 10, Recoverable: 10}},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			b := restoretest.New(t, "anne")
			x := b.Box("user.anne")
			for i := range 10 {
				x.Deliver(restoretest.Mail(fmt.Sprint(i)), 1700000000)
			}
			b.Box("user.anne.Other").Deliver(restoretest.Mail("other"), 1700000000)
			b.Sync()
			if err := c.lose(b, x); err != nil {
				t.Fatal(err)
			}
			b.Sync()
			g, err := b.Source(time.Time{}).Deletions(c.o, nil)
			if err != nil {
				t.Fatal(err)
			}
			moment := g.Commit
			if g.Commit = 0; *g != c.want || !g.WorthReporting() {
				t.Fatalf("%+v, want %+v", *g, c.want)
			}
			o := c.o
			o.LiveOnly = true
			sel, err := b.SourceOf(history.Moment{Number: moment}).Select(o)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := sel.Messages(); n < c.want.Recoverable {
				t.Errorf("commit %d has %d messages, want %d", moment, n, c.want.Recoverable)
			}
		})
	}
}

// Everyday deletions are not worth reporting, nor are messages that the selection restores.
func TestNotWorthReporting(t *testing.T) {
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	for i := range 10 {
		x.Deliver(restoretest.Mail(fmt.Sprint(i)), 1700000000)
	}
	b.Sync()
	x.Set(1, `\Expunged`)
	b.Sync()
	s := b.Source(time.Time{})
	g, err := s.Deletions(restore.Options{All: true, DeletedPrefix: "DELETED"}, nil)
	if err != nil || g.WorthReporting() || g.Live != 9 || g.Lost != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	if err := b.Session().ApplyUnmailbox(t.Context(), x.Name); err != nil {
		t.Fatal(err)
	}
	s = b.Source(time.Time{})
	o := restore.Options{Objects: []string{"user.anne"}, DeletedPrefix: "DELETED"}
	sel, err := s.Select(o)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = s.Deletions(o, sel); err != nil || g.WorthReporting() || g.Lost != 0 {
		t.Errorf("a deleted mailbox that is restored by its name: %+v, %v", g, err)
	}
}
