package ctlbackups

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Before the event, another message arrives that has all pieces of the erased one. erase reports it with an error, and waits with
// --wait for the end of the erasure nevertheless.
func TestEraseMessageWaitShared(t *testing.T) {
	w := newDoomed(t)
	a, b := []byte("one piece, "), []byte("another piece")
	w.guid = w.arrive(11, `\Expunged`, a, b)
	w.Now = w.Now.Add(6 * 24 * time.Hour)
	w.bob.Deliver(tooltest.Mail("newer", "carol@example.org", 900), w.Now)
	w.Sync(w.bob)
	f := faultstore.New(w.Parts[0].Store)
	w.Parts[0].Store = f
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool {
		_, _, log := history.ParseLogKey("user/bob", key)
		return op == "put" && log
	}, Call: func(string, string) { w.arrive(12, `\Seen`, b, a) }})
	var out bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &out,
		pass: func(d time.Duration) { w.Now = w.Now.Add(d) }}
	err := c.run([]string{"erase", "bob", "--yes", "--wait", "--reason", "request", "--message", w.guid.String()})
	if text := out.String(); !errors.Is(err, cli.ErrReported) || !strings.Contains(text, "have every part of it") || !strings.Contains(text, "and the bodies in ") {
		t.Errorf("%v: %s", err, text)
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
}

// arrive commits a message of two pieces, with a flag.
func (w *doomed) arrive(uid uint32, flag string, pieces ...[]byte) cyrus.GUID {
	w.t.Helper()
	text, p := bytes.Join(pieces, nil), pack.NewWriter(nil, pack.Options{})
	m := history.Message{GUID: sha1.Sum(text), Size: int64(len(text))}
	for _, piece := range pieces {
		c := history.ChunkID(sha256.Sum256(piece))
		m.Chunks = append(m.Chunks, c)
		if err := p.Put(pack.PieceName(c), piece); err != nil {
			w.t.Fatal(err)
		}
	}
	object, err := p.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	key := history.PackKey(sha256.Sum256(object))
	if _, err := w.Stores[0].Put(w.t.Context(), key, bytes.NewReader(object), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.commit(key, m, &cyrus.Record{UID: uid, ModSeq: 1, GUID: m.GUID, Size: uint32(m.Size), LastUpdated: 1, InternalDate: 1, Flags: []string{flag}})
	return m.GUID
}

// commit commits a message in a pack, with a record.
func (w *doomed) commit(key string, m history.Message, r *cyrus.Record) {
	w.t.Helper()
	part := repository.Config{Name: "default", Store: w.Stores[0]}
	f, err := repository.FindPath(w.t.Context(), part, "user/bob")
	if err != nil {
		w.t.Fatal(err)
	}
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	o := repository.LockOptions{Owner: "test", Now: func() time.Time { return w.Now }}
	bld := history.NewBuilder(o.Header(f, tip, w.Now), pack.Options{})
	for _, e := range []history.Event{&history.MessagesEvent{Messages: []history.Message{m}}, &history.RecordsEvent{UniqueID: w.bob.UniqueID, Records: []*cyrus.Record{r}}} {
		if err := bld.Event(e); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, c := range m.Chunks {
		bld.Place(history.Place{Chunk: c, Object: key, Entry: c.String() + ".part"})
	}
	if won, err := f.PutBuilt(w.t.Context(), bld); err != nil || !won {
		w.t.Fatal(won, err)
	}
}
