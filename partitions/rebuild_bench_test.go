package partitions

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// BenchmarkRebuild rebuilds the index of one mailbox of 100,000 messages, from a checkpoint
// and from the log.
func BenchmarkRebuild(b *testing.B) {
	const messages = 100_000
	for _, checkpoint := range []bool{true, false} {
		b.Run(fmt.Sprintf("checkpoint=%t", checkpoint), func(b *testing.B) {
			w := newRebuilt(b, messages, checkpoint)
			b.ReportAllocs()
			for b.Loop() {
				w.rebuild(b)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*messages), "µs/message")
			w.close(b)
			b.ReportMetric(float64(w.size(b))/messages, "indexbytes/message")
		})
	}
}

// rebuilt is a bucket with a backup, and an index to rebuild.
type rebuilt struct {
	dir   string
	index *index.Index
	set   *Set
	name  repository.Name
}

func newRebuilt(b testing.TB, messages int, checkpoint bool) *rebuilt {
	b.Helper()
	store := memstore.New(time.Now)
	w := &rebuilt{dir: filepath.Join(b.TempDir(), "index"), name: repository.UserName("anne")}
	var err error
	if w.index, err = index.Open(w.dir, index.Options{}); err != nil {
		b.Fatal(err)
	}
	w.set, err = Open(Options{Index: w.index, Host: "test", Software: "test", NoCheckpoints: true,
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: store}}})
	if err != nil {
		b.Fatal(err)
	}
	first := &history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true}
	h := w.set.Backup(w.name)
	if err := h.Begin(b.Context()); err != nil {
		b.Fatal(err)
	}
	err = h.Change(b.Context(), Author{}, func(*State) ([]history.Event, error) { return []history.Event{first}, nil })
	h.End()
	if err != nil {
		b.Fatal(err)
	}
	prev := h.entry.Hash
	const perCommit = 10_000
	for n := 0; n < messages; n += perCommit {
		prev = putMail(b, store, h.path, h.entry.Number+1+uint64(n/perCommit), prev, n, min(perCommit, messages-n))
	}
	if checkpoint {
		m, err := history.Load(context.Background(), store, h.path, history.Moment{})
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		if _, err := m.WriteCheckpoint(b.Context(), pack.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

// putMail puts a commit that adds messages from number `from` on to user.anne.
func putMail(b testing.TB, store *memstore.Store, path string, number uint64, prev string, from, n int) (hash string) {
	b.Helper()
	at := time.Now().UTC()
	bld := history.NewBuilder(history.Header{Version: history.Version, Backup: path, Number: number, Prev: prev, Time: at, Clock: at,
		Host: "test", Random: repository.NewID()}, pack.Options{})
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	const id = "0123456789abcdef01234567"
	must(bld.Event(&history.MailboxEvent{UniqueID: id, Name: "user.anne", Fields: []dlist.Pair{dlist.P("UIDVALIDITY", dlist.S("1"))}}))
	packSum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, number))
	var messages []history.Message
	flush := func() {
		must(bld.Event(&history.MessagesEvent{Messages: messages}))
		messages = nil
	}
	for i := from; i < from+n; i++ {
		m := history.Message{GUID: sha1.Sum(fmt.Append(nil, i)), Size: 600, Chunks: []history.ChunkID{sha256.Sum256(fmt.Append(nil, i))}}
		if messages = append(messages, m); len(messages) == history.MaxMessagesPerEvent {
			flush()
		}
		bld.Place(history.Place{Chunk: m.Chunks[0], Object: history.PackKey(packSum), Entry: m.GUID.String() + ".eml"})
	}
	flush()
	for i := from; i < from+n; i++ {
		must(bld.Record(id, &cyrus.Record{UID: uint32(i + 1), ModSeq: uint64(i + 2), LastUpdated: 1_790_000_000 + int64(i),
			InternalDate: 1_780_000_000 + int64(i), Size: 600, GUID: sha1.Sum(fmt.Append(nil, i)), Flags: []string{`\Seen`}}))
	}
	obj, sum, err := bld.Finish(nil)
	must(err)
	_, err = store.Put(b.Context(), history.LogKey(path, number), bytes.NewReader(obj), objstore.PutOptions{})
	must(err)
	return hex.EncodeToString(sum[:])
}

func (w *rebuilt) rebuild(b testing.TB) {
	b.Helper()
	if err := w.set.Reindex(b.Context(), w.name); err != nil {
		b.Fatal(err)
	}
}

func (w *rebuilt) close(b testing.TB) {
	b.Helper()
	if err := w.set.Close(); err != nil {
		b.Error(err)
	}
	if err := w.index.Close(); err != nil {
		b.Error(err)
	}
}

// size returns the disk space of the closed index.
func (w *rebuilt) size(b testing.TB) (n int64) {
	b.Helper()
	err := filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Stat(path, &st)
		}
		n += st.Blocks * 512
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
