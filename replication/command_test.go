package replication_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

const (
	guidHello = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" // of "hello"
	guidOther = "0123456789012345678901234567890123456789"
	box       = "%(UNIQUEID u1 MBOXNAME user.anne SYNC_CRC 0 LAST_UID 1 HIGHESTMODSEQ 4 RECENTUID 0 RECENTTIME 0" +
		" LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 7 PARTITION default" +
		" ACL \"anne\tlrs\t\" OPTIONS P"
	record = "%(UID 1 MODSEQ 4 LAST_UPDATED 5 FLAGS (\\Seen) INTERNALDATE 6 SIZE 5 GUID " + guidHello + ")"
)

// Commands whose answer does not depend on state. NOOP must work after each of them.
func TestAnswers(t *testing.T) {
	const parse = "BAD IMAP_PROTOCOL_ERROR Failed to parse "
	const bad = "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters"
	const protocol = "NO IMAP_PROTOCOL_ERROR Protocol error"
	for _, tt := range []struct{ command, want string }{
		{"NOOP", "OK Noop completed"},
		{"noop", "OK Noop completed"},
		{"RESTART", "OK Restarting"},
		{"", "BAD Null command"},
		{" NOOP", "BAD Null command"},
		{"NOOP now", "BAD Unexpected extra arguments to Noop"},
		{"RESTART (a {3+}\r\n)\r\nb)", "BAD Unexpected extra arguments to Restart"},
		{"NOOP {5+}\r\na\r\nbc", "BAD Unexpected extra arguments to Noop"},
		{"FROBNICATE", "BAD IMAP_PROTOCOL_ERROR Unrecognized command"},
		{"FROBNICATE {4+}\r\nEXIT x", "BAD IMAP_PROTOCOL_ERROR Unrecognized command"},
		{"AUTHENTICATE PLAIN AA==", "BAD Already authenticated"},
		{"AUTHENTICATE", "BAD Missing required argument to Authenticate"},
		{"AUTHENTICATE {3}\r\nabc", "BAD Invalid mechanism"},
		{"STARTTLS", "BAD Can't Starttls after authentication"},
		{"COMPRESS", "BAD Missing required argument to Compress"},
		{"COMPRESS LZ4", "NO Unknown compression algorithm: LZ4"},
		{"RESTORE MAILBOX %(MBOXNAME user.anne RECORD ())", "NO IMAP_PROTOCOL_ERROR RESTORE is for mail servers, this is a backup server"},
		{"GET", "BAD Missing required argument to Get"},
		{"APPLY", "BAD Missing required argument to Apply"},
		{"GET ", parse + "GET line"},
		{"GET USER", parse + "GET line"},
		{"GET USER anne bert", "BAD Unexpected extra arguments to Get"},
		{"GET USER NIL", "NO IMAP_MAILBOX_LOCKED Mailbox locked"},
		{"GET USER \"\"", "OK Success"},
		{"GET USER (anne)", bad},
		{"GET MAILBOXES anne", bad},
		{"GET FETCH %(MBOXNAME m)", bad},
		{"GET FETCH_SIEVE %(USERID u)", bad},
		{"GET NONSENSE %(A {3+}\r\nx\r\n)", protocol},
		{"GET USER nobody", "OK Success"},
		{"get user nobody", "OK Success"},
		{"GET MAILBOXES (user.a user.b shared.c)", "OK Success"},
		{"GET UNIQUEIDS (a b)", "OK Success"},
		{"GET META nobody", "OK Success"},
		{"GET FULLMAILBOX user.a", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"GET QUOTA user.a", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"GET ANNOTATION \"\"", "OK Success"},
		{"GET FETCH %(MBOXNAME m PARTITION p UNIQUEID u GUID " + guidHello + " UID 1)", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"GET FETCH_SIEVE %(USERID u FILENAME f.script)", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"APPLY NONSENSE (%{p " + guidHello + " 7}\r\n)\r\nEXIT x)", protocol},
		{"APPLY FORCE %()", "OK Success"},
		{"APPLY CAPABILITIES (SIEVE-MAILBOX)", "* ENABLED ()\nOK Success"},
		{"APPLY SUB %(USERID u)", bad},
		{"APPLY SUB %(USERID u MBOXNAME m)", "OK Success"},
		{"APPLY UNSUB %(USERID u MBOXNAME m)", "OK Success"},
		{"apply sub %(USERID u MBOXNAME m)", "OK Success"},
		{"APPLY SUB %(USERID u MBOXNAME %m)", parse + "APPLY SUB line"},
		{"APPLY SEEN %(USERID u UNIQUEID i LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS \"\")", "OK Success"},
		{"APPLY SEEN %(USERID u UNIQUEID i LASTREAD x LASTUID 2 LASTCHANGE 3 SEENUIDS \"\")", bad},
		{"APPLY SIEVE %(USERID u FILENAME f.script LAST_UPDATE 1 CONTENT {4+}\r\n\r\n\r\n)", "OK Success"},
		{"APPLY UNSIEVE %(USERID u FILENAME f.script)", "OK Success"},
		{"APPLY ACTIVATE_SIEVE %(USERID u FILENAME f.bc)", "OK Success"},
		{"APPLY UNACTIVATE_SIEVE %(USERID u)", "OK Success"},
		{"APPLY QUOTA %(ROOT user.u LIMIT 4294967295 MODSEQ 1)", "OK Success"},
		{"APPLY QUOTA %(LIMIT 1)", bad},
		{"APPLY UNQUOTA user.u", "OK Success"},
		{"APPLY ANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID \"\" VALUE NIL)", "OK Success"},
		{"APPLY UNANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID \"\")", "OK Success"},
		{"APPLY UNMAILBOX user.u.x", "OK Success"},
		{"APPLY LOCAL_UNMAILBOX user.u.x", "OK Success"},
		{"APPLY RENAME %(OLDMBOXNAME a NEWMBOXNAME b PARTITION p)", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"APPLY LOCAL_RENAME %(OLDMBOXNAME a NEWMBOXNAME b PARTITION p UIDVALIDITY 1)", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"APPLY UNUSER u", "OK Success"},
		{"APPLY LOCAL_UNUSER u", "OK Success"},
		{"APPLY EXPUNGE %(MBOXNAME m UNIQUEID u UID (1 2))", "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox"},
		{"APPLY RESERVE %(PARTITION p MBOXNAME (a b) GUID (" + guidHello + "))", "* MISSING (" + guidHello + ")\nOK Success"},
		{"APPLY RESERVE %(PARTITION p MBOXNAME () GUID ())", "OK Success"},
		{"APPLY RESERVE %(PARTITION p GUID ())", bad},
		{"APPLY RESERVE %(PARTITION p MBOXNAME (a) GUID (1234))", bad},
		{"APPLY MESSAGE ()", "OK Success"},
		{"APPLY MESSAGE (NIL)", "OK Success"},
		{"APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello NIL)", "OK Success"},
		{"APPLY MESSAGE (%{p " + guidOther + " 5}\r\nhello %{p " + guidHello + " 5}\r\nhello)", bad},
		{"APPLY MESSAGE (%{p 1234 5}\r\nhello %{p " + guidHello + " 5}\r\nhello)", bad},
		{"APPLY MESSAGE (hello)", protocol},
		{"APPLY MESSAGE hello", bad},
		{"APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello) x", "BAD Unexpected extra arguments to Apply"},
		{"APPLY MAILBOX %(UNIQUEID u MBOXNAME m)", bad},
		{"APPLY MAILBOX " + box + ")", bad},
		{"APPLY MAILBOX " + box + " RECORD (%(UID 1)))", bad},
		{"APPLY MAILBOX " + box + " RECORD (" + record + " %(UID {2+}\r\nxy MODSEQ 1) %{p " + guidHello + " 6}\r\n)\r\nEXI))", bad},
		{"APPLY MAILBOX " + box + " RECORD (" + record + ")) x", "BAD Unexpected extra arguments to Apply"},
		{"APPLY MAILBOX " + box + " RECORD (" + record + ") SINCE_MODSEQ 4)", bad},
		{"APPLY MAILBOX " + box + " RECORD (" + strings.Replace(record, guidHello, guidOther, 1) + "))", "NO Unknown error in APPLY MAILBOX for user.anne"},
		{"APPLY MAILBOX %(UNIQUEID u2 MBOXNAME user.anne.a MBOXTYPE ei HIGHESTMODSEQ 3 CREATEDMODSEQ 1 FOLDERMODSEQ 3)", "OK Success"},
	} {
		t.Run(tt.command, func(t *testing.T) {
			b := open(t, replicationtest.NewStore())
			b.want(tt.command, tt.want)
			b.want("NOOP", "OK Noop completed")
		})
	}
}

// The server keeps the names of backups in memory, so no command takes a name that cannot exist.
func TestNamesAreBounded(t *testing.T) {
	long := fmt.Sprintf("{%d+}\r\n%s", cyrus.MaxName+1, strings.Repeat("a", cyrus.MaxName+1))
	for _, command := range []string{
		"GET USER %s", "GET META %s", "GET FULLMAILBOX %s", "GET QUOTA %s", "GET MAILBOXES (a %s)", "GET UNIQUEIDS (a %s)",
		"APPLY RESERVE %%(PARTITION default MBOXNAME (%s) GUID ())", "APPLY UNMAILBOX %s", "APPLY UNUSER %s",
		"APPLY SUB %%(USERID %s MBOXNAME a)", "APPLY RENAME %%(OLDMBOXNAME a NEWMBOXNAME %s PARTITION p UIDVALIDITY 1)",
	} {
		b := open(t, replicationtest.NewStore())
		b.want(fmt.Sprintf(command, long), "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters")
	}
}

// Fields are held in memory until the head is complete, so their total size is limited.
func TestMailboxFieldsAreBounded(t *testing.T) {
	b := open(t, replicationtest.NewStore())
	field := " X-NEW {" + strconv.Itoa(4<<20) + "+}\r\n" + strings.Repeat("x", 4<<20)
	b.want("APPLY MAILBOX "+box+strings.Repeat(field, 9)+" RECORD ())", "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters")
	b.want("NOOP", "OK Noop completed")
}

// Before the login only the commands allowed there are read, and each is read to its end.
func TestBeforeLogin(t *testing.T) {
	b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
	const login = "NO Please authenticate first"
	b.want("GET USER anne", login)
	b.want("APPLY MESSAGE (%{p "+guidHello+" 9}\r\n)\r\nEXIT\r\n)", login)
	b.want("APPLY SUB %(USERID {3+}\r\na\r\n MBOXNAME m)", login)
	b.want("RESTORE MAILBOX %()", login)
	b.want("RESTART", "OK Restarting")
	b.want("NOOP", "OK Noop completed")
	b.want("EXIT", "OK Finished")
	if err := <-b.ended; err != nil {
		t.Errorf("ServeConn: %v", err)
	}
}

// A lone LF ends a line, as in Cyrus.
func TestLoneLineFeed(t *testing.T) {
	b := open(t, replicationtest.NewStore())
	r, err := b.Send([]byte("APPLY MESSAGE (%{p " + guidHello + " 5}\nhello)\n"))
	if err != nil || !r.OK() {
		t.Errorf("%v %v", r, err)
	}
	r, err = b.Send([]byte("NOOP\n"))
	if err != nil || !r.OK() {
		t.Errorf("%v %v", r, err)
	}
}

func TestVerbTooLong(t *testing.T) {
	b := open(t, replicationtest.NewStore())
	go func() { _, _ = b.Conn.Write([]byte(strings.Repeat("x", 1<<20))) }()
	line, err := b.Line()
	if err != nil || line != "* Fatal error: word too long" {
		t.Errorf("%q %v", line, err)
	}
	if err := <-b.ended; err == nil {
		t.Error("ServeConn returned nil")
	}
}
