package tooltest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	largeID   = "0123456789abcdef01234567"
	largePath = "user/anne"
	perCommit = 16_384 // like backupd
)

// WriteLarge fills an empty store with the backup of anne, whose inbox has n small messages, as
// after a first upload: packs, commits, and a checkpoint.
func WriteLarge(ctx context.Context, s objstore.Store, n int) error {
	l := &large{ctx: ctx, store: s, now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	info, err := (&repository.Info{Version: repository.Version, ID: repository.NewID(), Created: l.now, Dedup: "partition", Chunker: repository.Chunker}).Encode()
	l.put(repository.Key, info, err)
	about := fmt.Sprintf(`{"version":1,"name":"anne","kind":"user","created":%q,"id":%q}`, l.now.Format(time.RFC3339), repository.NewID())
	l.put(repository.BackupInfoKey(largePath), []byte(about), nil)
	for from := 0; from < n && l.err == nil; from += perCommit {
		l.commit(from, min(from+perCommit, n))
	}
	if l.err != nil {
		return l.err
	}
	m, err := history.Load(ctx, s, largePath, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.WriteCheckpoint(ctx, pack.Options{})
	return err
}

// large is the work of WriteLarge, up to the first error.
type large struct {
	ctx    context.Context
	store  objstore.Store
	now    time.Time
	number uint64
	prev   string
	err    error
}

func (l *large) put(key string, b []byte, err error) {
	if l.must(err) {
		_, err = l.store.Put(l.ctx, key, bytes.NewReader(b), objstore.PutOptions{})
		l.must(err)
	}
}

func (l *large) must(err error) bool {
	if l.err == nil {
		l.err = err
	}
	return l.err == nil
}

// commit puts the messages from one number up to another, and their commit.
func (l *large) commit(from, to int) {
	l.number++
	b := history.NewBuilder(history.Header{Version: history.Version, Backup: largePath, Number: l.number, Prev: l.prev,
		Time: l.now, Clock: l.now, Host: "test", Random: repository.NewID()}, pack.Options{})
	messages := l.pack(b, from, to)
	for len(messages) > 0 {
		some := messages[:min(len(messages), history.MaxMessagesPerEvent)]
		messages = messages[len(some):]
		l.must(b.Event(&history.MessagesEvent{Messages: some}))
	}
	l.must(b.Event(&history.MailboxEvent{UniqueID: largeID, Name: "user.anne", Fields: []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(largeID)), dlist.P("MBOXNAME", dlist.S("user.anne")), dlist.P("UIDVALIDITY", dlist.S("1"))}}))
	for i := from; i < to; i++ {
		l.must(b.Record(largeID, &cyrus.Record{UID: uint32(i + 1), ModSeq: uint64(i + 2), LastUpdated: 1_790_000_000 + int64(i),
			InternalDate: 1_780_000_000 + int64(i), Size: 600, GUID: sha1.Sum(largeMail(i)), Flags: []string{`\Seen`}}))
	}
	object, sum, err := b.Finish(nil)
	l.put(history.LogKey(largePath, l.number), object, err)
	l.prev = hex.EncodeToString(sum[:])
}

// pack puts messages in a pack and their places in the commit.
func (l *large) pack(b *history.Builder, from, to int) (out []history.Message) {
	w := pack.NewWriter(nil, pack.Options{})
	for i := from; i < to; i++ {
		body := largeMail(i)
		m := history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}
		l.must(w.Add(m.GUID.String()+".eml", body))
		out = append(out, m)
	}
	object, err := w.Finish()
	key := history.PackKey(sha256.Sum256(object))
	l.put(key, object, err)
	for _, m := range out {
		b.Place(history.Place{Chunk: m.Chunks[0], Object: key, Entry: m.GUID.String() + ".eml"})
	}
	return out
}

// largeMail returns message i, of 600 bytes.
func largeMail(i int) []byte {
	head := fmt.Sprintf("From: bob@example.org\r\nSubject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\n", i, i)
	b := make([]byte, 0, 600)
	b = append(b, head...)
	for sum := sha256.Sum256([]byte(head)); len(b) < 598; sum = sha256.Sum256(sum[:]) {
		b = append(b, hex.EncodeToString(sum[:])[:min(64, 598-len(b))]...)
	}
	return append(b, '\r', '\n')
}

// Large is a partition with the backup of WriteLarge, in a directory. It has 60,000 messages; with
// the race detector a fourth of that.
func Large(t *testing.T) (parts []repository.Config, messages int) {
	t.Helper()
	messages = 60_000
	if Race() {
		messages /= 4
	}
	s, err := dirstore.Open(t.TempDir())
	if err == nil {
		err = WriteLarge(t.Context(), s, messages)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return []repository.Config{{Name: "default", Location: "directory", Store: s}}, messages
}
