package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// BenchmarkIngest measures a message from the session to the bucket: hashes, compression, packs,
// commits and the index, without the wire.
func BenchmarkIngest(b *testing.B) {
	for _, store := range []struct {
		name string
		open func(testing.TB) objstore.Store
	}{{"memory", memory}, {"directory", directory}, {"minio", bucketOfMinio}} {
		b.Run(store.name, func(b *testing.B) {
			b.Run("5KB", func(b *testing.B) { ingest(b, store.open(b), newText(5000), 1000) })
			b.Run("1MB", func(b *testing.B) { ingest(b, store.open(b), newAttachment(1000_000), 50) })
		})
	}
}

func memory(testing.TB) objstore.Store { return memstore.New(time.Now) }

func directory(b testing.TB) objstore.Store {
	s, err := dirstore.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func bucketOfMinio(b testing.TB) objstore.Store {
	m := miniotest.Start(b)
	s, err := miniostore.Open(m.Location(m.NewBucket(b)), miniostore.Options{Credentials: m.Credentials()})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// ingest pushes one message per iteration. Like a client, it reserves the messages of each batch
// before it sends them, and commits after them.
func ingest(b *testing.B, under objstore.Store, mail func(i int) []byte, batch int) {
	counter := new(observe.Counter)
	set := openSet(b, observe.New(under, counter.Hooks()))
	s := session.New(set, session.Who{Connection: "bench", Client: "bench"})
	ctx := b.Context()
	if err := s.GetUser(ctx, "anne", func(string, dlist.Value) error { return nil }); err != nil {
		b.Fatal(err)
	}
	box := &mailbox{name: "user.anne", crc: cyrus.NewCRC()}
	// The first commit creates the repository, which is not part of the cost of a message.
	if err := errors.Join(box.deliver(ctx, s, []byte("Subject: first\r\n\r\n")), box.commit(ctx, s)); err != nil {
		b.Fatal(err)
	}
	least := floorOf(b, mail)
	counter.Reset()
	b.ReportAllocs()
	bodies := make([][]byte, batch)
	total := 0
	cpu := processorTime()
	for b.Loop() {
		if total%batch == 0 {
			if err := errors.Join(box.commit(ctx, s), box.reserve(ctx, s, bodies, mail)); err != nil {
				b.Fatal(err)
			}
		}
		body := bodies[total%batch]
		if err := box.deliver(ctx, s, body); err != nil {
			b.Fatal(err)
		}
		total++
		b.SetBytes(int64(len(body)))
	}
	if err := box.commit(ctx, s); err != nil {
		b.Fatal(err)
	}
	perMessage := float64((processorTime() - cpu).Nanoseconds()) / float64(b.N)
	requests := 0
	for _, n := range counter.Snapshot() {
		requests += n.Requests
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(perMessage/1000, "cpu-µs/op")
	b.ReportMetric(perMessage/float64(least.Nanoseconds()), "×floor")
	b.ReportMetric(float64(requests)*1000/float64(b.N), "requests/1000messages")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

func openSet(b testing.TB, s objstore.Store) *partitions.Set {
	x, err := index.Open(filepath.Join(b.TempDir(), "index"), index.Options{FilterMemory: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Index: x, Host: "bench", Software: "bench",
		Partitions: []repository.Config{{Name: "default", Location: "bench", Store: s}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := set.Close(); err != nil {
			b.Error(err)
		}
		if err := x.Close(); err != nil {
			b.Error(err)
		}
	})
	return set
}

// mailbox grows like a mailbox of the source.
type mailbox struct {
	name     string
	uniqueid string // "" = b1
	uid      uint32
	modseq   uint64 // HIGHESTMODSEQ; at least uid
	told     uint64 // HIGHESTMODSEQ at the server
	was      cyrus.CRC
	crc      cyrus.CRC
	unsent   []*cyrus.Record
}

// reserve makes the bodies of a batch and asks which of them are missing.
func (m *mailbox) reserve(ctx context.Context, s *session.Session, bodies [][]byte, mail func(int) []byte) error {
	guids := make([]cyrus.GUID, len(bodies))
	for i := range bodies {
		bodies[i] = append(bodies[i][:0], mail(int(m.uid)+i)...)
		guids[i] = sha1.Sum(bodies[i])
	}
	missing, err := s.Reserve(ctx, "default", []string{m.name}, guids)
	if err == nil && len(missing) != len(guids) {
		err = fmt.Errorf("%d of %d messages are missing", len(missing), len(guids))
	}
	return err
}

func (m *mailbox) deliver(ctx context.Context, s *session.Session, body []byte) error {
	m.uid++
	r := &cyrus.Record{
		UID: m.uid, ModSeq: uint64(m.uid), LastUpdated: 1700000000, InternalDate: 1700000000,
		Flags: []string{`\Seen`}, Size: uint32(len(body)), GUID: sha1.Sum(body),
	}
	m.crc.Add(r)
	m.unsent = append(m.unsent, r)
	return s.Message(ctx, "default", r.GUID, int64(len(body)), bytes.NewReader(body))
}

func (m *mailbox) commit(ctx context.Context, s *session.Session) error {
	if len(m.unsent) == 0 {
		return nil
	}
	m.modseq = max(m.modseq, uint64(m.uid))
	head, _, err := cyrus.ParseMailbox([]dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(cmp.Or(m.uniqueid, "b1"))), dlist.P("MBOXNAME", dlist.S(m.name)),
		dlist.P("SYNC_CRC", dlist.N(uint64(m.crc.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(m.crc.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(m.uid))), dlist.P("HIGHESTMODSEQ", dlist.N(m.modseq)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(0)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)), dlist.P("UIDVALIDITY", dlist.N(1)),
		dlist.P("PARTITION", dlist.S("default")), dlist.P("ACL", dlist.S("anne\tlrs\t")), dlist.P("OPTIONS", dlist.S("")),
	})
	if err != nil {
		return err
	}
	since := cyrus.Since{Set: m.told > 0, ModSeq: m.told, CRC: m.was.Basic, CRCAnnot: m.was.Annot}
	err = s.ApplyMailbox(ctx, head, since, func(yield func(*cyrus.Record, error) bool) {
		for _, r := range m.unsent {
			if !yield(r, nil) {
				return
			}
		}
	})
	m.unsent, m.told, m.was = nil, m.modseq, m.crc
	return err
}

// newText returns messages of words, each with different lines.
func newText(size int) func(int) []byte {
	words := make([]byte, 0, 16<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(words) < 16<<20-16 {
		for range 1 + rnd.IntN(9) {
			words = append(words, "etaoinshrdlucmfwypvbgkjqxz"[rnd.IntN(1+rnd.IntN(26))])
		}
		words = append(words, ' ')
	}
	body := make([]byte, 0, size)
	return func(i int) []byte {
		body = fmt.Appendf(body[:0], "From: a@example.org\r\nMessage-ID: <%d@example.org>\r\n\r\n", i)
		at := rnd.IntN(len(words) - size)
		return append(body, words[at:at+size-len(body)]...)
	}
}

// newAttachment returns messages of noise in base64.
func newAttachment(size int) func(int) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, size*57/78/57*57)
	return func(i int) []byte {
		body := make([]byte, 0, size)
		body = fmt.Appendf(body, "From: a@example.org\r\nMessage-ID: <%d@example.org>\r\n\r\n", i)
		rnd.Read(raw)
		for line := raw; len(line) > 0; line = line[57:] {
			body = base64.StdEncoding.AppendEncode(body, line[:57])
			body = append(body, '\r', '\n')
		}
		return body
	}
}
