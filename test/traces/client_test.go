package traces_test

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// client sends the commands of sync_client.
type client struct {
	t      *testing.T
	h      *host
	wire   *replicationtest.Client
	hangUp func()
}

// mailbox is a mailbox of the mail server.
type mailbox struct {
	name, id string
	modseq   int
	mail     []message
	crc      uint32 // 0 matches every state
}

type message struct {
	modseq int
	guid   string
	body   string
}

func (h *host) newMailbox(name string) *mailbox {
	sum := sha1.Sum([]byte(name))
	return &mailbox{name: name, id: hex.EncodeToString(sum[:12]), modseq: 1}
}

// deliver appends a message. The trace shows name in place of its GUID.
func (h *host) deliver(m *mailbox, name, body string) {
	sum := sha1.Sum([]byte(body))
	m.modseq++
	g := hex.EncodeToString(sum[:])
	h.name(g, name)
	m.mail = append(m.mail, message{m.modseq, g, body})
}

// text returns a message of about n bytes.
func text(subject string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %s\r\n\r\n", subject)
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x\r\n", sha1.Sum(fmt.Append(nil, subject, i)))
	}
	return b.String()
}

// do sends a command. The trace shows short.
func (c *client) do(short, command string) replicationtest.Reply {
	c.t.Helper()
	c.h.add("C: %s", short)
	r, err := c.wire.Do(command)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", short, err, c.h.trace)
	}
	return r
}

// ok sends a command that must succeed.
func (c *client) ok(short, command string) replicationtest.Reply {
	c.t.Helper()
	r := c.do(short, command)
	if !r.OK() {
		c.t.Fatalf("%s: %s\n%s", short, r, c.h.trace)
	}
	return r
}

// say is ok for a short command.
func (c *client) say(command string) {
	c.t.Helper()
	c.ok(command, command)
}

// reserve asks which messages, from the n-th on, are missing.
func (c *client) reserve(m *mailbox, n int) {
	c.t.Helper()
	var guids []string
	for _, msg := range m.mail[n:] {
		guids = append(guids, msg.guid)
	}
	c.say(fmt.Sprintf("APPLY RESERVE %%(PARTITION default MBOXNAME (%s) GUID (%s))", m.name, strings.Join(guids, " ")))
}

// upload sends the messages from the n-th on.
func (c *client) upload(m *mailbox, n int) {
	c.t.Helper()
	for _, msg := range m.mail[n:] {
		c.ok(fmt.Sprintf("APPLY MESSAGE (%%{default %s %d} …)", msg.guid, len(msg.body)),
			fmt.Sprintf("APPLY MESSAGE (%%{default %s %d}\r\n%s)", msg.guid, len(msg.body), msg.body))
	}
}

// apply sends the mailbox, with the records from the n-th on.
func (c *client) apply(m *mailbox, n int) replicationtest.Reply {
	c.t.Helper()
	var records []string
	for i, msg := range m.mail[n:] {
		records = append(records, fmt.Sprintf("%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE %d GUID %s)",
			n+i+1, msg.modseq, len(msg.body), msg.guid))
	}
	short := fmt.Sprintf("APPLY MAILBOX %%(… MBOXNAME %s … RECORD (%s))", m.name, strings.TrimSpace(strings.Repeat("%(…) ", len(records))))
	return c.do(short, fmt.Sprintf("APPLY MAILBOX %%(UNIQUEID %s MBOXNAME %s SYNC_CRC %d LAST_UID %d HIGHESTMODSEQ %d RECENTUID 0 RECENTTIME 0 "+
		"LAST_APPENDDATE 1700000000 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 1700000000 PARTITION default ACL \"\" OPTIONS P RECORD (%s))",
		m.id, m.name, m.crc, len(m.mail), m.modseq, strings.Join(records, " ")))
}

// mustApply is apply for a mailbox that must be accepted.
func (c *client) mustApply(m *mailbox, n int) {
	c.t.Helper()
	if r := c.apply(m, n); !r.OK() {
		c.t.Fatalf("%s: %s\n%s", m.name, r, c.h.trace)
	}
}

// hold stores mailboxes of a user. Call it before begin.
func (h *host) hold(user string, boxes ...*mailbox) {
	h.t.Helper()
	c := h.dial()
	defer c.hangUp()
	c.say("GET USER " + user)
	for _, m := range boxes {
		c.upload(m, 0)
		c.mustApply(m, 0)
	}
	c.say("EXIT")
}

var (
	mailboxLine = regexp.MustCompile(`%\(.*MBOXNAME (\S+) .*LAST_UID (\d+) .*HIGHESTMODSEQ (\d+) .*\)$`)
	// The text after the code of a refusal may be reworded.
	refusal = regexp.MustCompile(`^(NO IMAP_[A-Z_]+|NO|BAD) .*$`)
)

// shortened keeps the important parts of a line of the server.
func shortened(line string) string {
	line = mailboxLine.ReplaceAllString(line, "%(… MBOXNAME $1 … LAST_UID $2 HIGHESTMODSEQ $3 …)")
	return refusal.ReplaceAllString(line, "$1 …")
}

// cause returns an error of the store without the operation and the key.
func cause(err error) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
