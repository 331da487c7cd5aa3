package history

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

const anne = "user/anne"

// noon is one minute before commit 1; commits are a minute apart.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// writer makes a log like package partitions, but without concurrent writers.
type writer struct {
	t      testing.TB
	store  objstore.Store
	tip    Tip
	random *rand.Rand
}

func newWriter(t testing.TB) *writer {
	return &writer{t: t, store: memstore.New(nil), random: rand.New(rand.NewPCG(1, 2))}
}

// Read implements io.Reader: the writer is the source of random bytes for its objects.
func (w *writer) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(w.random.Uint32())
	}
	return len(p), nil
}

func (w *writer) options() pack.Options { return pack.Options{Random: w} }

func (w *writer) header() Header {
	var random [16]byte
	_, _ = w.Read(random[:])
	n := w.tip.Number + 1
	at := noon.Add(time.Duration(n) * time.Minute)
	return Header{Backup: anne, Number: n, Prev: w.tip.Hash, Time: at, Host: "b1", Clock: at.Add(time.Second),
		Connection: "c7", Client: "mail [192.0.2.1] admin", Random: fmt.Sprintf("%x", random)}
}

// commit puts the next commit.
func (w *writer) commit(events ...Event) { w.commitWith(func(*Builder) {}, events...) }

func (w *writer) commitWith(more func(*Builder), events ...Event) {
	w.t.Helper()
	b := NewBuilder(w.header(), w.options())
	for _, e := range events {
		if err := b.Event(e); err != nil {
			w.t.Fatal(err)
		}
	}
	more(b)
	object, hash, err := b.Finish(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(LogKey(anne, b.Header().Number), object)
	w.tip = Tip{Number: b.Header().Number, Hash: fmt.Sprintf("%x", hash), Time: b.Header().Time}
}

func (w *writer) put(key string, b []byte) {
	w.t.Helper()
	if _, err := w.store.Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) get(key string) []byte {
	w.t.Helper()
	return getAll(w.t, w.store, key)
}

func getAll(t testing.TB, s objstore.Store, key string) []byte {
	t.Helper()
	obj, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(obj)
	if err := closeAfter(obj, err); err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *writer) keys() []string {
	w.t.Helper()
	var keys []string
	for info, err := range w.store.List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// merge replaces commits from … to with a segment.
func (w *writer) merge(from, to uint64, place func(Place) (Place, error)) {
	w.t.Helper()
	b := NewSegmentBuilder(anne, w.options())
	for c, err := range w.log().Commits(w.t.Context(), from, to) {
		if err == nil {
			err = b.Add(c, place)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	key, object, err := b.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key, object)
	for n := from; n <= to; n++ {
		w.delete(LogKey(anne, n))
	}
}

func (w *writer) delete(key string) {
	w.t.Helper()
	if err := w.store.Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) log() *Log { return &Log{Store: w.store, Backup: anne} }

func (w *writer) load(at Moment) *Mem {
	w.t.Helper()
	return loadAt(w.t, w.t.Context(), w.store, at)
}

func loadAt(t testing.TB, ctx context.Context, s objstore.Store, at Moment) *Mem {
	t.Helper()
	m, err := Load(ctx, s, anne, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// text returns a message of about size bytes.
func text(n, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: message %d\r\n\r\n", n)
	for line := 0; b.Len() < size; line++ {
		fmt.Fprintf(&b, "Line %d of message %d, %x.\r\n", line, n, sha1.Sum([]byte{byte(line), byte(n)}))
	}
	return b.Bytes()
}

// message returns the message with this body, as one chunk.
func message(body []byte) Message {
	return Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []ChunkID{sha256.Sum256(body)}}
}

func record(uid uint32, g cyrus.GUID, flags ...string) *cyrus.Record {
	thrid, created := fmt.Sprintf("%016x", uid), fmt.Sprint(uid)
	return &cyrus.Record{UID: uid, ModSeq: uint64(uid) + 10, LastUpdated: noon.Unix(), Flags: flags, InternalDate: noon.Unix() - 5,
		Size: 64, GUID: g, Annotations: []cyrus.Annotation{
			{Entry: "/vendor/cmu/cyrus-imapd/createdmodseq", Value: &created},
			{Entry: "/vendor/cmu/cyrus-imapd/thrid", Value: &thrid},
		}}
}

func mailbox(uniqueid, name string, fields ...string) *MailboxEvent {
	e := &MailboxEvent{UniqueID: uniqueid, Name: name, Fields: []dlist.Pair{
		field("UNIQUEID", uniqueid), field("MBOXNAME", name), field("UIDVALIDITY", "1700000000"), field("PARTITION", "default")}}
	for i := 0; i+1 < len(fields); i += 2 {
		e.Fields = append(e.Fields, field(fields[i], fields[i+1]))
	}
	return e
}

func field(key, value string) dlist.Pair {
	return dlist.Pair{Key: key, Value: dlist.Value{Kind: dlist.String, Str: value}}
}

// dump returns a whole state as text for comparison by people.
func dump(t failer, s State, messages func(func(*MessageState) error) error) string {
	t.Helper()
	var b strings.Builder
	put := func(indent string, v any) {
		line, err := MarshalState(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s%s\n", indent, line)
	}
	for m, err := range s.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		put("", m)
		for r, err := range s.Records(m.UniqueID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			put("  ", r)
		}
	}
	for _, kind := range ItemKinds() {
		for i, err := range s.Items(kind) {
			if err != nil {
				t.Fatal(err)
			}
			put("", i)
		}
	}
	err := messages(func(m *MessageState) error {
		put("", m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func dumpMem(t failer, m *Mem) string {
	t.Helper()
	return dump(t, m, func(fn func(*MessageState) error) error {
		for s, err := range m.Messages() {
			if err == nil {
				err = fn(s)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func toJSON(t failer, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// failer is implemented by *testing.T and *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
}
