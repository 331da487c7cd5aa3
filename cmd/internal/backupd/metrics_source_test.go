package backupd

import (
	"crypto/sha1"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	syncclient "github.com/cyrusbackup/backupd/replication/client"
)

// box is a mailbox of a mail server.
type box struct {
	name    string
	records []*cyrus.Record
	bodies  map[cyrus.GUID]string // without a body, the mail server cannot read the file
}

func newBox(name string) *box { return &box{name: name, bodies: map[cyrus.GUID]string{}} }

// deliver adds a message that n and size determine.
func (b *box) deliver(n, size int) {
	rng, text := rand.New(rand.NewPCG(uint64(n), 1)), make([]byte, size)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[rng.IntN(64)]
	}
	body := fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", n, text)
	g := cyrus.GUID(sha1.Sum([]byte(body)))
	uid := uint32(len(b.records) + 1)
	b.bodies[g] = body
	b.records = append(b.records, &cyrus.Record{UID: uid, ModSeq: uint64(uid) + 1, LastUpdated: 1700000000, InternalDate: 1700000000, Size: uint32(len(body)), GUID: g})
}

func (b *box) all() iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range b.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (b *box) mailbox() *syncclient.Mailbox {
	crc, modseq := cyrus.NewCRC(), uint64(1)
	for _, r := range b.records {
		crc.Add(r)
		modseq = r.ModSeq
	}
	num := func(k string, n uint64) dlist.Pair { return dlist.P(k, dlist.N(n)) }
	return &syncclient.Mailbox{
		Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("id-"+b.name)), dlist.P("MBOXNAME", dlist.S(b.name)),
			num("SYNC_CRC", uint64(crc.Basic)), num("SYNC_CRC_ANNOT", uint64(crc.Annot)), num("LAST_UID", uint64(len(b.records))),
			num("HIGHESTMODSEQ", modseq), num("RECENTUID", 0), num("RECENTTIME", 0), num("LAST_APPENDDATE", 0), num("POP3_LAST_LOGIN", 0),
			num("UIDVALIDITY", 1), dlist.P("PARTITION", dlist.S("default")), dlist.P("ACL", dlist.S("anne\tlrs\t")), dlist.P("OPTIONS", dlist.S("P"))},
		Records: b.all(),
		Open: func(r *cyrus.Record) (io.ReadCloser, error) {
			body, there := b.bodies[r.GUID]
			if !there {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(body)), nil
		},
	}
}
