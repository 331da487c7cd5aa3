package bucketrestore

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// box is a mailbox of the mail server.
type box struct {
	name, id string
	lastUID  uint32
	modseq   uint64
	records  []*cyrus.Record
	bodies   map[cyrus.GUID][]byte
}

func newBox(name string) *box {
	return &box{name: name, id: fmt.Sprintf("%x", sha1.Sum([]byte(name)))[:24], modseq: 1, bodies: map[cyrus.GUID][]byte{}}
}

func (b *box) deliver(body []byte) {
	b.lastUID++
	b.modseq++
	r := &cyrus.Record{UID: b.lastUID, ModSeq: b.modseq, LastUpdated: 1700000000, InternalDate: 1690000000 + int64(b.lastUID),
		Size: uint32(len(body)), GUID: sha1.Sum(body), Flags: []string{}}
	b.records = append(b.records, r)
	b.bodies[r.GUID] = body
}

func (b *box) flag(uid uint32, flags ...string) {
	i := slices.IndexFunc(b.records, func(r *cyrus.Record) bool { return r.UID == uid })
	b.modseq++
	n := *b.records[i]
	n.ModSeq, n.Flags = b.modseq, flags
	b.records[i] = &n
}

func (b *box) expunge(uids ...uint32) {
	for _, uid := range uids {
		b.flag(uid, `\Deleted`, `\Expunged`)
	}
}

// expungeUnheard removes a record like cyr_expire, before the server has learned of it.
func (b *box) expungeUnheard(uid uint32) {
	b.modseq++
	b.records = slices.DeleteFunc(b.records, func(r *cyrus.Record) bool { return r.UID == uid })
}

func (b *box) head() *cyrus.Mailbox {
	c := cyrus.NewCRC()
	for _, r := range b.records {
		c.Add(r)
	}
	m, _, err := cyrus.ParseMailbox([]dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(b.id)), dlist.P("MBOXNAME", dlist.S(b.name)),
		dlist.P("SYNC_CRC", dlist.N(uint64(c.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(c.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(b.lastUID))), dlist.P("HIGHESTMODSEQ", dlist.N(b.modseq)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(1700000000)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)),
		dlist.P("UIDVALIDITY", dlist.N(1700000000)), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("anne\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
	})
	if err != nil {
		panic(err)
	}
	return m
}

// sync sends changes since the state that the server reports.
func (b *box) sync(ctx context.Context, s *session.Session) error {
	return b.send(ctx, s, true)
}

// syncAll sends everything, as to an empty server.
func (b *box) syncAll(ctx context.Context, s *session.Session) error {
	return b.send(ctx, s, false)
}

func (b *box) send(ctx context.Context, s *session.Session, ask bool) error {
	since, lastUID := cyrus.Since{}, uint64(0)
	if ask {
		err := s.GetMailboxes(ctx, []string{b.name}, func(_ string, v dlist.Value) error {
			var crc, annot uint64
			for key, at := range map[string]*uint64{"HIGHESTMODSEQ": &since.ModSeq, "SYNC_CRC": &crc, "SYNC_CRC_ANNOT": &annot, "LAST_UID": &lastUID} {
				n, _, err := v.Num64(key)
				if err != nil {
					return err
				}
				*at = n
			}
			since.Set, since.CRC, since.CRCAnnot = true, uint32(crc), uint32(annot)
			return nil
		})
		if err != nil {
			return err
		}
	}
	var records []*cyrus.Record
	for _, r := range b.records {
		if uint64(r.UID) > lastUID {
			body := b.bodies[r.GUID]
			if err := s.Message(ctx, "default", r.GUID, int64(len(body)), bytes.NewReader(body)); err != nil {
				return err
			}
		}
		if r.ModSeq > since.ModSeq {
			records = append(records, r)
		}
	}
	return s.ApplyMailbox(ctx, b.head(), since, seq(records))
}

func seq(records []*cyrus.Record) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// maildir returns the files that the script should create for mailboxes, with their content.
func maildir(boxes ...*box) map[string]string {
	files := map[string]string{}
	for _, b := range boxes {
		for _, r := range b.records {
			if !slices.Contains(r.Flags, `\Expunged`) {
				files[file(b.name, r)] = string(b.bodies[r.GUID])
			}
		}
	}
	return files
}

func file(mailbox string, r *cyrus.Record) string {
	name := strings.TrimPrefix(mailbox, "user.anne")
	if name != "" {
		name += "/"
	}
	info := ""
	for _, f := range []struct{ letter, flag string }{{"D", `\Draft`}, {"F", `\Flagged`}, {"R", `\Answered`}, {"S", `\Seen`}, {"T", `\Deleted`}} {
		if slices.Contains(r.Flags, f.flag) {
			info += f.letter
		}
	}
	return fmt.Sprintf("%scur/%d.%d_%s:2,%s", name, r.InternalDate, r.UID, r.GUID, info)
}

// fromHistory is maildir with the data that package history reads from the bucket.
func fromHistory(t *testing.T, s objstore.Store, moment string) map[string]string {
	t.Helper()
	at, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	m, err := history.Load(t.Context(), s, "user/anne", history.Moment{Time: at})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return filesOf(t, s, m)
}

func filesOf(t *testing.T, s objstore.Store, m *history.Mem) map[string]string {
	t.Helper()
	objects, files := history.NewObjects(s, 0), map[string]string{}
	for mb, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range m.Records(mb.UniqueID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Expunged == 0 && mb.Deleted.IsZero() {
				files[file(mb.Name, &r.Record)] = read(t, m, objects, r.GUID)
			}
		}
	}
	return files
}

func read(t *testing.T, m *history.Mem, o *history.Objects, g cyrus.GUID) string {
	t.Helper()
	msg, err := m.Message(g)
	if err != nil || msg == nil {
		t.Fatalf("%s: %v, %v", g, msg, err)
	}
	body, err := history.OpenMessage(t.Context(), o, msg, m.Places)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mail returns a message of about n bytes that compresses like mail.
func mail(seed, n int) []byte {
	b := fmt.Appendf(nil, "From: a@example.org\r\nSubject: message %d\r\n\r\n", seed)
	x := uint32(seed)*2654435761 + 1
	for len(b) < n {
		x = x*1664525 + 1013904223
		b = fmt.Appendf(b, "%08x words of a line that repeats itself\r\n", x)
	}
	return b
}

// noise returns n bytes that do not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for x := seed; len(b) < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	return b[:n]
}
