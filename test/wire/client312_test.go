package wire_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// commandsOf returns the commands of a captured connection.
func commandsOf(t *testing.T, name string) [][]byte {
	t.Helper()
	said, err := os.ReadFile(transcripts + "/" + name + ".c2s")
	if err != nil {
		t.Fatal(err)
	}
	commands, err := replicationtest.Commands(said)
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

// ask sends a command that must be answered OK, and returns the untagged lines.
func ask(t *testing.T, c *replicationtest.Client, command string) []string {
	t.Helper()
	r, err := c.Do(command)
	if err != nil || !r.OK() {
		t.Fatalf("%s: %v, %s", command, err, r)
	}
	return r.Untagged
}

// A user was renamed, and a client of 3.12 asks for the mailboxes under both names. The server
// reports held mailboxes of both users, so that they are not uploaded again
// (client-behaviour.md 10).
func TestRenamedUserOf312(t *testing.T) {
	h := newHost(t)
	c := h.dial(t)
	first := true
	for _, cmd := range commandsOf(t, "3.12/e9-renamed-user-get-answered-ok-1") {
		if bytes.HasPrefix(cmd, []byte("EXIT")) {
			continue
		}
		r, err := c.Send(cmd)
		if err != nil || !r.OK() {
			t.Fatalf("%.200q: %v, %s", cmd, err, r)
		}
		if bytes.HasPrefix(cmd, []byte("GET MAILBOXES")) && first {
			first = false
			if len(r.Untagged) != 0 {
				t.Fatalf("mailboxes of users that are not held: %q", r.Untagged)
			}
		}
	}
	reported := ask(t, c, "GET MAILBOXES (user.bert user.berti)")
	if len(reported) == 0 || !strings.Contains(reported[0], "MBOXNAME user.berti ") {
		t.Errorf("after the upload GET MAILBOXES with both names returns %q", reported)
	}
	again := ask(t, c, "GET USER berti")
	if len(again) == 0 || again[0] != reported[0] {
		t.Errorf("GET USER returns %q, GET MAILBOXES %q", again, reported)
	}
}

// The old name exists here: 3.12 sends a RENAME across users. Refusing it would make that client
// fail for ever.
func TestRenameAcrossUsersOf312(t *testing.T) {
	h := newHost(t)
	c := h.dial(t)
	body := "Subject: x\r\n\r\nhello\r\n"
	send := func(cmd string) {
		t.Helper()
		ask(t, c, cmd)
	}
	g := sha1Hex(body)
	send("GET USER fritz")
	send("APPLY MESSAGE (%{default " + g + " " + itoa(len(body)) + "}\r\n" + body + ")")
	send("APPLY MAILBOX %(UNIQUEID 7d1c1f6e-0b3c-4b52-9d3e-1f6a4b7c8d9e MBOXNAME user.fritz LAST_UID 1 HIGHESTMODSEQ 2 RECENTUID 0 RECENTTIME 0 " +
		"LAST_APPENDDATE 1700000000 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 1700000000 PARTITION default ACL \"\" OPTIONS P USERFLAGS () " +
		"RECORD (%(UID 1 MODSEQ 2 LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE " + itoa(len(body)) + " GUID " + g + ")))")
	send("GET USER franz")
	if l := ask(t, c, "GET MAILBOXES (user.fritz user.franz)"); len(l) != 1 || !strings.Contains(l[0], "user.fritz") {
		t.Fatalf("before the rename: %q", l)
	}
	send("APPLY RENAME %(OLDMBOXNAME user.fritz NEWMBOXNAME user.franz PARTITION default UIDVALIDITY 1700000000)")
	l := ask(t, c, "GET MAILBOXES (user.fritz user.franz)")
	if len(l) != 1 || !strings.Contains(l[0], "MBOXNAME user.franz ") || !strings.Contains(l[0], "USERFLAGS ()") {
		t.Fatalf("after the rename: %q", l)
	}
	if l := ask(t, c, "GET USER fritz"); len(l) != 0 {
		t.Errorf("the old user still has %q", l)
	}
	h.check("rename")
}
