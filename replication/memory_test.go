package replication_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

const mib = 1 << 20

// literal returns a literal of a MiB with a number, so that no two are equal.
func literal(i int) string {
	s := fmt.Sprintf("%08d", i) + strings.Repeat("k", mib-8)
	return fmt.Sprintf("{%d+}\r\n%s", len(s), s)
}

// longNames is a mebibyte of names of the greatest length.
func longNames(i int) string {
	one := fmt.Sprintf("{%d+}\r\n%08d%s ", cyrus.MaxName, i, strings.Repeat("k", cyrus.MaxName-8))
	return strings.TrimSuffix(strings.Repeat(one, mib/cyrus.MaxName), " ")
}

// head is the argument of a complete APPLY MAILBOX up to its records.
const head = "APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne LAST_UID 1 HIGHESTMODSEQ 2 RECENTUID 0 RECENTTIME 0 " +
	"LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 UIDVALIDITY 1 PARTITION default ACL {0+}\r\n OPTIONS P SYNC_CRC 0"

// hungry are commands whose argument would take much memory, by what repeats in them.
var hungry = []struct {
	name, head, tail string
	items            int
	item             func(i int) string
}{
	{"keys", "GET MAILBOXES %(", ")", 16, func(i int) string { return literal(i) + " () " }},
	{"keys of RESERVE", "APPLY RESERVE %(", ")", 16, func(i int) string { return literal(i) + " NIL " }},
	{"names of RESERVE", "APPLY RESERVE %(PARTITION x MBOXNAME (", "))", 16, func(i int) string { return literal(i) + " " }},
	{"GUIDs of RESERVE", "APPLY RESERVE %(PARTITION x MBOXNAME (a) GUID (", "))", 16, func(int) string { return strings.Repeat(guidHello+" ", 30000) }},
	{"keys of a head", "APPLY MAILBOX %(", ")", 16, func(i int) string { return literal(i) + " () " }},
	{"file partitions", "GET MAILBOXES (", ")", 16, func(i int) string { return "%" + literalFile(i) + " " }},
	{"strings", "GET MAILBOXES (", ")", 16, func(i int) string { return literal(i) + " " }},
	{"empty lists", "GET MAILBOXES (", ")", 16, func(int) string { return strings.Repeat("() ", 10000) }},
	{"flags", head + " RECORD (%(FLAGS (", "))))", 16, func(i int) string { return literal(i) + " " }},
	{"annotations", head + " RECORD (%(ANNOTATIONS (", "))))", 16, func(i int) string {
		return "%(ENTRY e USERID u MODSEQ 1 VALUE " + literal(i) + ") "
	}},
}

// literalFile is a file without a body and with a long partition, without its percent sign.
func literalFile(i int) string {
	s := fmt.Sprintf("%08d", i) + strings.Repeat("k", mib-8)
	return fmt.Sprintf("{{%d+}\r\n%s %s 0}\r\n", len(s), s, guidHello)
}

// Whatever the argument of a command consists of, it takes no more than CommandMemory. The client
// gets a NO, and its next command works.
func TestMemoryOfCommands(t *testing.T) {
	const limit = 6 * mib
	for _, compress := range []bool{false, true} {
		for _, c := range hungry {
			t.Run(fmt.Sprintf("%s, compress %v", c.name, compress), func(t *testing.T) {
				srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.CommandMemory = replication.NewCommandMemory(limit) })
				b := dial(t, srv, replication.ConnOptions{Unix: true})
				if compress {
					b.want("COMPRESS DEFLATE", "OK DEFLATE active")
					b.Client = deflate(t, b.Conn)
				}
				before := heap()
				send(t, b.Conn, c.head)
				for i := range c.items {
					send(t, b.Conn, c.item(i))
				}
				if used := heap() - before; used > limit+3*mib {
					t.Errorf("the command takes %d KiB", used>>10)
				}
				if got := b.do(c.tail); !strings.HasPrefix(got, "NO ") {
					t.Errorf("the answer is %.200q", got)
				}
				b.want("NOOP", "OK Noop completed")
			})
		}
	}
}

// A large record leaves no memory after it, however long its mailbox takes to arrive.
func TestMemoryAfterRecord(t *testing.T) {
	record := func(flags, annotations string) string {
		return " RECORD (%(UID 1 MODSEQ 2 LAST_UPDATED 1 FLAGS (" + flags + ") INTERNALDATE 1 SIZE 5 GUID " + guidHello +
			" ANNOTATIONS (" + annotations + "))"
	}
	for _, c := range []struct {
		name, text string
		kept       int64 // by the test's store
	}{
		{"flags", record(strings.Repeat("a ", mib/2), ""), 8 * mib},
		{"annotations", record("", strings.Repeat("%(ENTRY e USERID u MODSEQ 1 VALUE v)", mib/64)), 3 * mib / 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, replicationtest.NewStore())
			before := heap()
			send(t, b.Conn, head+c.text)
			send(t, b.Conn, " ") // is read after the record
			if used := heap() - before; used > c.kept+mib {
				t.Errorf("after the record %d KiB are in use", used>>10)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// A command that only has to wait for the memory of others succeeds when they return it.
func TestCommandWaitsForMemory(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.CommandMemory = replication.NewCommandMemory(6 * mib) })
	first, second := dial(t, srv, replication.ConnOptions{Unix: true}), dial(t, srv, replication.ConnOptions{Unix: true})
	send(t, first.Conn, "GET MAILBOXES (")
	for i := range 4 {
		send(t, first.Conn, longNames(i)+" ")
	}
	answer := make(chan string)
	go func() {
		answer <- second.do("GET MAILBOXES (" + longNames(1) + " " + longNames(2) + " " + longNames(3) + ")")
	}()
	select {
	case got := <-answer:
		t.Errorf("the second command was answered before the first ended: %.100q", got)
	case <-time.After(100 * time.Millisecond):
	}
	first.want(")", "OK Success")
	if got := <-answer; got != "OK Success\n" {
		t.Errorf("the second command: %.100q", got)
	}
}

// A command that was refused gives its memory back before its rest arrives.
func TestRefusedCommandHoldsNoMemory(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.CommandMemory = replication.NewCommandMemory(6 * mib) })
	refused, other := dial(t, srv, replication.ConnOptions{Unix: true}), dial(t, srv, replication.ConnOptions{Unix: true})
	send(t, refused.Conn, "GET MAILBOXES (")
	for i := range 8 {
		send(t, refused.Conn, longNames(i)+" ")
	}
	other.want("GET MAILBOXES ("+longNames(1)+" "+longNames(2)+" "+longNames(3)+")", "OK Success")
	if got := refused.do(")"); !strings.HasPrefix(got, "NO ") {
		t.Errorf("the refused command: %.100q", got)
	}
}

// A client that announces a message and is silent is disconnected long before SyncTimeout.
func TestSilentBody(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.Patience = 20 * time.Millisecond })
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	send(t, b.Conn, "APPLY MESSAGE (%{default "+guidHello+" 5}\r\nhel")
	if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "too slowly") {
		t.Errorf("the silent client: %v", err)
	}
}

// A client that has borrowed memory and is silent is disconnected long before SyncTimeout, and its
// memory returns.
func TestSilentClientLosesItsMemory(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.CommandMemory, o.Patience = replication.NewCommandMemory(6*mib), 200*time.Millisecond
	})
	silent, other := dial(t, srv, replication.ConnOptions{Unix: true}), dial(t, srv, replication.ConnOptions{Unix: true})
	send(t, silent.Conn, "GET MAILBOXES (")
	for i := range 4 {
		send(t, silent.Conn, longNames(i)+" ")
	}
	if err := <-silent.ended; err == nil || !strings.Contains(err.Error(), "too slowly") {
		t.Errorf("the silent client: %v", err)
	}
	other.want("GET MAILBOXES ("+longNames(1)+" "+longNames(2)+" "+longNames(3)+")", "OK Success")
}
