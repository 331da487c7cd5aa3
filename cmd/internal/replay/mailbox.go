package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/replay/internal/source"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication/client"
)

// epoch is the UIDVALIDITY of every mailbox. It is a constant, so that the same source gives
// the same mailboxes in every run, and a second run has nothing to do.
const epoch = 1700000000

// mailboxOf makes a mailbox of the first n messages of a folder.
func mailboxOf(userid string, top []string, f source.Folder, n int) *client.Mailbox {
	name := mailboxName(userid, top, f.Path)
	m := &client.Mailbox{
		Records: records(f, n),
		Open:    func(r *cyrus.Record) (io.ReadCloser, error) { return f.Open(int(r.UID) - 1) },
	}
	crc := cyrus.NewCRC()
	for r := range m.Records { //nolint:errcheck // records returns no error
		crc.Add(r)
	}
	num := func(key string, v uint64) dlist.Pair { return dlist.P(key, dlist.N(v)) }
	id := sha256.Sum256([]byte(name))
	m.Fields = []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(hex.EncodeToString(id[:12]))), dlist.P("MBOXNAME", dlist.S(name)),
		num("SYNC_CRC", uint64(crc.Basic)), num("SYNC_CRC_ANNOT", uint64(crc.Annot)),
		num("LAST_UID", uint64(n)), num("HIGHESTMODSEQ", uint64(n)+1), num("RECENTUID", 0), num("RECENTTIME", 0),
		num("LAST_APPENDDATE", epoch), num("POP3_LAST_LOGIN", 0), num("POP3_SHOW_AFTER", 0), num("UIDVALIDITY", epoch),
		dlist.P("PARTITION", dlist.S("default")), dlist.P("ACL", dlist.S(userid+"\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
		num("CREATEDMODSEQ", 1), num("FOLDERMODSEQ", 1),
	}
	return m
}

// records numbers messages by their order: uid i, modseq i+1, with the virtual
// annotations that Cyrus 3.6 sends.
func records(f source.Folder, n int) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for i, m := range f.Messages[:n] {
			modseq := strconv.Itoa(i + 2)
			saved := strconv.FormatInt(m.Date, 10)
			r := &cyrus.Record{UID: uint32(i + 1), ModSeq: uint64(i + 2), LastUpdated: m.Date, InternalDate: m.Date, Flags: m.Flags,
				Size: m.Size, GUID: m.GUID, Annotations: []cyrus.Annotation{
					{Entry: "/vendor/cmu/cyrus-imapd/savedate", Value: &saved},
					{Entry: "/vendor/cmu/cyrus-imapd/createdmodseq", Value: &modseq},
				}}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// mailboxName returns the internal name: components joined with dots; a dot in a component
// becomes "^".
func mailboxName(userid string, paths ...[]string) string {
	var sb strings.Builder
	sb.WriteString(cyrus.Inbox(userid, ""))
	for _, path := range paths {
		for _, part := range path {
			sb.WriteString("." + strings.ReplaceAll(part, ".", "^"))
		}
	}
	return sb.String()
}
