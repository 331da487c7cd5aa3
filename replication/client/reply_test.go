package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

func TestReplies(t *testing.T) {
	c, _ := script(t,
		"* MAILBOX %(UNIQUEID x)\r\n* NEWKIND (a {3}\r\nb\r\n)\r\n* SEEN x\r\nOK Success\r\n",
		"OK fine\r\n", "* LSUB (a b)\n* LSUB (c)\r\nOK\r\n", "MAYBE x\r\n")
	if f := c.Banner().Features; len(f) != 1 || f[0] != "X-NEW" {
		t.Errorf("banner %+v", c.Banner())
	}
	if _, err := c.GetUser(t.Context(), "anne"); !errors.Is(err, cyrus.ErrBadParameters) || !strings.Contains(err.Error(), "MBOXNAME: is missing") {
		t.Errorf("bad mailbox: %v", err)
	}
	if err := c.Noop(t.Context()); err != nil {
		t.Errorf("the connection is broken: %v", err)
	}
	if u, err := c.GetUser(t.Context(), "anne"); err != nil || !slices.Equal(u.Subs, []string{"a", "b", "c"}) {
		t.Errorf("%+v, %v", u, err)
	}
	if err := c.Noop(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a status line") {
		t.Errorf("%v", err)
	}
}

func TestLostConnections(t *testing.T) {
	for _, a := range []string{"", "* LSUB (a", "* LSUB (a)\r\nO", "* Fatal error: out of memory\r\n"} {
		c, _ := script(t, a)
		_, err := c.GetUser(t.Context(), "anne")
		if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "Fatal error: out of memory") {
			t.Errorf("%q: %v", a, err)
		}
		if again := c.Noop(t.Context()); again == nil {
			t.Errorf("%q: still works", a)
		}
	}
	c, lines := script(t, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-lines; cancel() }()
	if err := c.Noop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRestoreMailbox(t *testing.T) {
	c, lines := script(t, "OK success\r\n", "OK success\r\n")
	b := newBox("user.anne", 1)
	fields := []dlist.Pair{dlist.P("MBOXNAME", dlist.S("user.anne")), dlist.P("ACL", dlist.Value{})}
	rec := "%(UID 1 MODSEQ 2 LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE 31 GUID " + b.records[0].GUID.String() + ")"
	if err := c.RestoreMailbox(t.Context(), fields, recordsOf(b.records), true); err != nil {
		t.Fatal(err)
	}
	if got, want := <-lines, "RESTORE LOCAL_MAILBOX %(MBOXNAME user.anne ACL NIL RECORD ("+rec+"))\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := c.RestoreMailbox(t.Context(), fields, recordsOf(nil), false); err != nil {
		t.Fatal(err)
	}
	if got, want := <-lines, "RESTORE MAILBOX %(MBOXNAME user.anne ACL NIL RECORD ())\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSecret(t *testing.T) {
	o := Options{User: "u", Password: "hush"}
	if s := fmt.Sprintf("%v %+v %#v %s", o, o, o, o.Password); strings.Contains(s, "hush") {
		t.Error(s)
	}
}
