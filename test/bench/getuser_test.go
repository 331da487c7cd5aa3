package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// asker asks for a user with many mailboxes and a subscription to each.
type asker struct {
	testing.TB
	s     *session.Session
	lines int
	line  []byte // memory
}

func newAsker(t testing.TB, mailboxes int) *asker {
	set, _ := openWithIndex(t)
	a := &asker{TB: t, s: session.New(set, session.Who{Connection: "bench"})}
	for i := range mailboxes {
		box := &mailbox{name: fmt.Sprintf("user.anne.box%04d", i), uniqueid: fmt.Sprintf("box%021d", i*7919%mailboxes), crc: cyrus.NewCRC()}
		err := errors.Join(box.deliver(t.Context(), a.s, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)),
			box.commit(t.Context(), a.s), a.s.ApplySub(t.Context(), "anne", box.name, true))
		if err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// ask formats the answer as a connection does.
func (a *asker) ask() {
	a.lines = 0
	err := a.s.GetUser(a.Context(), "anne", func(key string, v dlist.Value) error {
		a.lines++
		a.line = dlist.AppendPair(a.line[:0], dlist.P(key, v), false)
		return nil
	})
	if err != nil {
		a.Fatal(err)
	}
}

// GET USER of many mailboxes takes few allocations for each of them and its subscription (80
// before subscriptions were read without encoding/json, and mailboxes as a range into one piece
// of memory).
func TestGetUserAllocations(t *testing.T) {
	const mailboxes = 300
	a := newAsker(t, mailboxes)
	n := testing.AllocsPerRun(20, a.ask) / mailboxes
	t.Logf("%.1f allocations of a mailbox", n)
	if a.lines != mailboxes+1 {
		t.Errorf("%d lines, want one a mailbox and one of subscriptions", a.lines)
	}
	if n > 7 {
		t.Errorf("%.1f allocations of a mailbox, want at most 7", n)
	}
}
