package backupd

import (
	"crypto/sha1"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	csync "github.com/cyrusbackup/backupd/replication/client"
)

// One command with 300,000 records of 20,000 messages, more than a commit takes of either.
func TestMemoryOfALargeMailbox(t *testing.T) {
	if testing.Short() {
		t.Skip("sends a hundred megabytes")
	}
	const records, messages = 300_000, 20_000
	h := newHost(t)
	addr, pid := h.startReal(buildPrograms(t))
	c, err := csync.Dial(t.Context(), addr, csync.Options{User: "repl", Password: "any", Mech: "PLAIN"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.GetUser(t.Context(), "anne"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ApplyMessages(t.Context(), smallMessages(messages)); err != nil {
		t.Fatal(err)
	}
	all := manyRecords(records, messages)
	if err := c.ApplyMailbox(t.Context(), mailboxHead(all, records), cyrus.Since{}, all); err != nil {
		t.Fatal(err)
	}
	checkPeak(t, pid)
}

func smallBody(i int) string { return fmt.Sprintf("Subject: %d\r\n\r\n", i) }

func smallMessages(n int) iter.Seq2[csync.Message, error] {
	return func(yield func(csync.Message, error) bool) {
		for i := range n {
			body := smallBody(i)
			m := csync.Message{Partition: "default", GUID: sha1.Sum([]byte(body)), Size: int64(len(body)),
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }}
			if !yield(m, nil) {
				return
			}
		}
	}
}

func manyRecords(n, messages int) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for i := range n {
			body, modseq := smallBody(i%messages), fmt.Sprint(i+2)
			r := &cyrus.Record{UID: uint32(i + 1), ModSeq: uint64(i + 2), LastUpdated: 1700000000, InternalDate: 1700000000,
				Flags: []string{`\Seen`}, Size: uint32(len(body)), GUID: sha1.Sum([]byte(body)),
				Annotations: []cyrus.Annotation{{Entry: "/vendor/cmu/cyrus-imapd/createdmodseq", Value: &modseq}}}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func mailboxHead(records iter.Seq2[*cyrus.Record, error], n int) []dlist.Pair {
	crc := cyrus.NewCRC()
	for r := range records { //nolint:errcheck // manyRecords returns no error
		crc.Add(r)
	}
	num := func(key string, v uint64) dlist.Pair { return dlist.P(key, dlist.N(v)) }
	return []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S("3a")), dlist.P("MBOXNAME", dlist.S("user.anne")),
		num("SYNC_CRC", uint64(crc.Basic)), num("SYNC_CRC_ANNOT", uint64(crc.Annot)),
		num("LAST_UID", uint64(n)), num("HIGHESTMODSEQ", uint64(n)+1), num("RECENTUID", 0), num("RECENTTIME", 0),
		num("LAST_APPENDDATE", 0), num("POP3_LAST_LOGIN", 0), num("UIDVALIDITY", 1700000000),
		dlist.P("PARTITION", dlist.S("default")), dlist.P("ACL", dlist.S("")), dlist.P("OPTIONS", dlist.S("P")),
	}
}
