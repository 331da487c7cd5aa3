package main

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// GET USER of many mailboxes takes few allocations for each of them (28 before maps and lookups were
// left out).
func TestGetUserAllocations(t *testing.T) {
	const mailboxes = 300
	set, _ := openWithIndex(t)
	s := session.New(set, session.Who{Connection: "bench"})
	ctx := t.Context()
	for i := range mailboxes {
		box := &mailbox{name: fmt.Sprintf("user.anne.box%04d", i), uniqueid: fmt.Sprintf("box%021d", i), crc: cyrus.NewCRC()}
		if err := box.deliver(ctx, s, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)); err != nil {
			t.Fatal(err)
		}
		if err := box.commit(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	n := testing.AllocsPerRun(20, func() {
		if err := s.GetUser(ctx, "anne", func(string, dlist.Value) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}) / mailboxes
	t.Logf("%.1f allocations of a mailbox", n)
	if n > 20 {
		t.Errorf("%.1f allocations of a mailbox, want at most 20", n)
	}
}
