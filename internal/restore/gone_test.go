package restore_test

import (
	"fmt"
	"testing"
	"time"

	"backupd/internal/restore"
	"backupd/internal/restore/restoretest"
	"backupd/replication/cyrus"
)

// What was deleted at one go is found, whichever way it was deleted, and the moment before
// it has all of it.
func TestGone(t *testing.T) {
	all := restore.Options{All: true, DeletedPrefix: "DELETED"}
	inbox := restore.Options{Objects: []string{"user.anne"}, DeletedPrefix: "DELETED"}
	for about, c := range map[string]struct {
		lose func(*restoretest.Backup, *restoretest.Box) error
		o    restore.Options
		want restore.Gone
	}{
		"a mailbox": {func(b *restoretest.Backup, x *restoretest.Box) error {
			b.Boxes = b.Boxes[1:]
			return b.Session().ApplyUnmailbox(t.Context(), x.Name)
		}, all, restore.Gone{Left: 1, Mailboxes: 1, Messages: 10}},
		"a mailbox, asked for by name": {func(b *restoretest.Backup, x *restoretest.Box) error {
			b.Boxes = b.Boxes[1:]
			return b.Session().ApplyUnmailbox(t.Context(), x.Name)
		}, inbox, restore.Gone{Mailboxes: 1, Messages: 10}},
		"a mailbox, with delay": {func(b *restoretest.Backup, x *restoretest.Box) error {
			b.Boxes = b.Boxes[1:]
			at := time.Date(2026, 11, 20, 12, 1, 59, 0, time.UTC)
			return b.Session().ApplyRename(t.Context(), cyrus.Rename{Old: x.Name, New: fmt.Sprintf("DELETED.user.anne.%X", at.Unix()), UIDValidity: 1700000000})
		}, all, restore.Gone{Left: 1, Mailboxes: 1, Messages: 10}},
		"most messages": {func(_ *restoretest.Backup, x *restoretest.Box) error {
			for uid := range uint32(9) {
				x.Set(uid+1, `\Expunged`)
			}
			return nil
		}, inbox, restore.Gone{Left: 1, Messages: 9}},
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
			b.Sync() // a minute later
			if err := c.lose(b, x); err != nil {
				t.Fatal(err)
			}
			b.Sync()
			g, err := b.Source(time.Time{}).Gone(c.o)
			if err != nil {
				t.Fatal(err)
			}
			first := g.First
			g.First, g.Last, g.Commit = time.Time{}, time.Time{}, 0
			if *g != c.want || !g.Worth() {
				t.Fatalf("%+v, want %+v", *g, c.want)
			}
			sel, err := b.Source(first.Add(-time.Second)).Select(c.o)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := sel.Messages(); n < 10 {
				t.Errorf("the moment before, %s, has %d messages", first, n)
			}
		})
	}
}

// Everyday losses are not worth a note.
func TestNotGone(t *testing.T) {
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	for i := range 10 {
		x.Deliver(restoretest.Mail(fmt.Sprint(i)), 1700000000)
	}
	b.Sync()
	x.Set(1, `\Expunged`)
	b.Sync()
	g, err := b.Source(time.Time{}).Gone(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil || g.Worth() || g.Left != 9 || g.Messages != 1 {
		t.Errorf("%+v, %v", g, err)
	}
}
