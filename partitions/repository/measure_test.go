package repository_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// measured makes a backup of ten messages in two packs, of which three are expunged an hour
// before noon. One message arrives twice, and its chunk has an older place in the other pack.
func measured(t *testing.T) (store objstore.Store, packed, raw, live int64) {
	store = memstore.New(func() time.Time { return noon })
	put := func(key string, b []byte) {
		if _, err := store.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b := history.NewBuilder(history.Header{Version: 1, Backup: "user/anne", Number: 1, Time: noon.Add(-time.Hour), Clock: noon}, pack.Options{})
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.Event(&history.MailboxEvent{UniqueID: "u", Name: "user.anne", Fields: []dlist.Pair{}}))
	one := func(i int) (history.Message, []byte) {
		body := []byte(strings.Repeat(fmt.Sprint("message ", i, "\n"), 1000))
		return history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}, body
	}
	for _, run := range [][2]int{{0, 6}, {5, 10}} {
		w := pack.NewWriter(nil, pack.Options{})
		e := &history.MessagesEvent{}
		for i := run[0]; i < run[1]; i++ {
			m, body := one(i)
			must(w.Add(m.GUID.String()+".eml", body))
			e.Messages = append(e.Messages, m)
		}
		obj, dir := finished(t, w)
		key := history.PackKey(sha256.Sum256(obj))
		put(key, obj)
		must(b.Event(e))
		for i, m := range e.Messages {
			b.Place(history.Place{Chunk: m.Chunks[0], Object: key, Entry: m.GUID.String() + ".eml"})
			if x := dir.Entries[i]; run[0] == 5 || run[0]+i < 5 {
				packed += x.Len * min(x.Size, x.Raw) / x.Raw
				raw += m.Size
			}
		}
	}
	for i := range 10 {
		m, _ := one(i)
		r := &cyrus.Record{UID: uint32(i + 1), GUID: m.GUID, Size: uint32(m.Size)}
		if i < 3 {
			r.Flags = []string{`\Expunged`}
		} else {
			live += m.Size
		}
		must(b.Record("u", r))
	}
	obj, _, err := b.Finish(nil)
	must(err)
	put(history.LogKey("user/anne", 1), obj)
	return store, packed + int64(len(obj)), raw, live
}

func finished(t *testing.T, w *pack.Writer) ([]byte, *pack.Directory) {
	obj, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off += int64(len(obj))
		}
		return io.NopCloser(bytes.NewReader(obj[off : off+n])), nil
	}, int64(len(obj)))
	if err != nil {
		t.Fatal(err)
	}
	return obj, dir
}

func TestMeasure(t *testing.T) {
	store, packed, raw, live := measured(t)
	var gets atomic.Int32
	store = observe.New(store, observe.Hooks{End: func(e observe.Event) {
		if e.Op == "get" && strings.HasPrefix(e.Key, "packs/") {
			gets.Add(1)
		}
	}})
	f := repository.Found{Partition: repository.Config{Store: store}, Path: "user/anne"}
	sum, err := f.Summarize(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	own := sum.Bytes
	for retention, kept := range map[time.Duration]int64{0: raw, 2 * time.Hour: raw, time.Minute: live} {
		gets.Store(0)
		got, err := f.Measure(t.Context(), noon, retention)
		want := repository.Measured{Compressed: packed, Uncompressed: raw, Compactable: kept, Own: own, Log: own, Newest: 1, Time: noon.Add(-time.Hour), Steady: retention == 0}
		if err != nil || got != want {
			t.Errorf("retention %s: %+v, want %+v (%v)", retention, got, want, err)
		}
		if n := gets.Load(); n != 2 {
			t.Errorf("%d requests for two packs", n)
		}
	}
}
