package erasure_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
	// needle is in everything that has to disappear.
	needle = "NEEDLE-5b1c"
	anne   = "user/anne"
)

var anneName = repository.UserName("anne")

// world is one partition in memory, in a versioned bucket. The clocks of store and hosts are the
// same, and a test advances them.
type world struct {
	t     *testing.T
	mem   *memstore.Store
	store objstore.Store // mem, and what a test puts before it
	now   time.Time

	unlisted error // of the last tryFinish
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.mem = memstore.NewVersioned(func() time.Time { return w.now })
	w.store = w.mem
	info := repository.Info{Version: repository.Version, ID: repository.NewID(), Created: w.now, Dedup: "partition", Chunker: repository.Chunker,
		Capabilities: probe.Capabilities{IfAbsent: true, IfAbsentRace: true, IfMatch: true, Range: true, Suffix: true, ListOrder: true, StoreTime: true}}
	b, err := info.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.put(repository.Key, b)
	return w
}

func (w *world) later(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) config() repository.Config {
	return repository.Config{Name: "p", Location: "memory", Store: w.store}
}

func (w *world) here() time.Time { return w.now }

func (w *world) lock() repository.LockOptions {
	return repository.LockOptions{Owner: "test", Now: w.here, Wait: true}
}

func (w *world) put(key string, b []byte) {
	w.t.Helper()
	if _, err := w.mem.Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) has(key string) bool { return w.mem.Bytes(key) != nil }

// body is a message. Those of anne alone, below 100, have the needle. Those from 200 on have separate frames in a pack.
func body(n int) []byte {
	text := "shared"
	if n >= 200 {
		text = strings.Repeat(text, 100_000)
	}
	if n < 100 {
		text = needle
	}
	return fmt.Appendf(nil, "Subject: %d\r\n\r\n%s\r\n", n, text)
}

func message(n int) history.Message {
	b := body(n)
	return history.Message{GUID: sha1.Sum(b), Size: int64(len(b)), Chunks: []history.ChunkID{sha256.Sum256(b)}}
}

// pack puts a pack with messages, and returns its key.
func (w *world) pack(numbers ...int) string {
	w.t.Helper()
	p := pack.NewWriter(nil, pack.Options{})
	for _, n := range numbers {
		if err := p.Put(pack.MessageName(message(n).GUID), body(n)); err != nil {
			w.t.Fatal(err)
		}
	}
	b, err := p.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	key := history.PackKey(sha256.Sum256(b))
	w.put(key, b)
	return key
}

// found returns the backup of a user, and creates it if necessary.
func (w *world) found(user string) *repository.Found {
	w.t.Helper()
	n := repository.UserName(user)
	f := &repository.Found{Partition: repository.Config{Name: "p", Store: w.mem}, Path: n.Path(), Info: repository.BackupInfo{Kind: n.Kind, Name: n.Full}}
	_, err := f.PutInfo(w.t.Context(), objstore.PutOptions{IfAbsent: true}, w.now)
	if err != nil && !errors.Is(err, objstore.ErrExist) {
		w.t.Fatal(err)
	}
	return f
}

// commit puts a commit with these messages as live records: in packs, or inline if the pack is "".
func (w *world) commit(user string, in map[int]string, events ...history.Event) {
	w.t.Helper()
	f := w.found(user)
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.lock()
	b := history.NewBuilder(o.Header(f, tip, w.now), pack.Options{})
	if tip.Number == 0 {
		events = append([]history.Event{&history.MailboxEvent{UniqueID: "inbox", Name: "user." + user}}, events...)
	}
	for _, e := range events {
		if err := b.Event(e); err != nil {
			w.t.Fatal(err)
		}
	}
	for n, key := range in {
		m := message(n)
		r := &cyrus.Record{UID: uint32(n), ModSeq: 1, GUID: m.GUID, Size: uint32(m.Size), LastUpdated: w.now.Unix(), InternalDate: w.now.Unix()}
		if n < 100 {
			value := needle
			r.Annotations = []cyrus.Annotation{{Entry: "/comment", Value: &value}}
		}
		for _, e := range []history.Event{&history.MessagesEvent{Messages: []history.Message{m}}, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{r}}} {
			if err := b.Event(e); err != nil {
				w.t.Fatal(err)
			}
		}
		place := history.Place{Chunk: m.Chunks[0], Object: key, Entry: m.GUID.String() + ".eml"}
		if key == "" {
			b.Inline(place.Entry, body(n))
			place.Object = "."
		}
		b.Place(place)
	}
	if won, err := f.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
}

// checkpoint writes the newest state.
func (w *world) checkpoint(user string) {
	w.t.Helper()
	m, err := w.found(user).Load(w.t.Context(), history.Moment{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteCheckpoint(w.t.Context(), pack.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// content gives anne a needle of every kind. mixed has a message of anne's, and one of bert's; only
// anne names private.
func (w *world) content() (private, mixed string) {
	w.t.Helper()
	private, mixed = w.pack(1, 2), w.pack(3, 103)
	value := needle
	w.commit("anne", map[int]string{4: "", 1: private, 2: private},
		&history.MailboxEvent{UniqueID: "folder", Name: "user.anne." + needle},
		&history.SieveEvent{User: "anne", Filename: "rules", GUID: sha1.Sum([]byte(needle)), Content: needle},
		&history.AnnotationEvent{Name: "user.anne", Entry: "/comment", Value: &value})
	w.checkpoint("anne")
	w.commit("anne", map[int]string{3: mixed})
	w.commit("bert", map[int]string{103: mixed, 104: ""})
	w.checkpoint("bert")
	return private, mixed
}

// needles returns the keys of objects and former versions that have the needle, also compressed.
func (w *world) needles() (keys []string) {
	w.t.Helper()
	for key, b := range w.mem.All() {
		if bytes.Contains(b, []byte(needle)) || strings.Contains(key, needle) || bytes.Contains(plain(b), []byte(needle)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// plain decompresses an object as far as possible.
func plain(b []byte) []byte {
	d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil
	}
	defer d.Close()
	out, _ := io.ReadAll(d) // up to the first byte that is not compressed
	return out
}

// below returns the keys below a prefix, of objects and of former versions.
func (w *world) below(prefix string) (keys []string) {
	for key := range w.mem.All() {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (w *world) look(parts ...repository.Config) *erasure.Survey {
	w.t.Helper()
	if len(parts) == 0 {
		parts = []repository.Config{w.config()}
	}
	s, err := erasure.Look(w.t.Context(), parts, repository.UserName("anne"), w.here)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) options() erasure.Options {
	return erasure.Options{By: "root", Reason: "she left", Lock: w.lock()}
}

// tryErase is one run.
func (w *world) tryErase() ([]erasure.Done, error) {
	s, err := erasure.Look(w.t.Context(), []repository.Config{w.config()}, repository.UserName("anne"), w.here)
	if err != nil {
		return nil, err
	}
	return erasure.Erase(w.t.Context(), s, w.options())
}

func (w *world) erase() []erasure.Done {
	w.t.Helper()
	done, err := w.tryErase()
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// open returns the erasures whose bodies may be left.
func (w *world) open() []*repository.Erasure {
	w.t.Helper()
	list, err := erasure.Open(w.t.Context(), w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// records returns all records.
func (w *world) records() (list []*repository.Erasure) {
	w.t.Helper()
	for e, err := range repository.Erasures(w.t.Context(), w.config(), time.Time{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func (w *world) condemned(key string) bool {
	w.t.Helper()
	list, _, err := history.ReadCondemned(w.t.Context(), w.mem)
	if err != nil {
		w.t.Fatal(err)
	}
	return list.Has(key)
}

// check reads every message of the newest moment of a user.
func (w *world) check(user string, numbers ...int) {
	w.t.Helper()
	m, err := w.found(user).Load(w.t.Context(), history.Moment{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	var got []int
	objects := history.NewObjects(w.mem, 0)
	for r, err := range m.Records("inbox", 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		got = append(got, int(r.UID))
		msg, err := m.Message(r.GUID)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := history.OpenMessage(w.t.Context(), objects, msg, m.Places)
		if err != nil {
			w.t.Errorf("%s: message %d: %v", user, r.UID, err)
			continue
		}
		text, err := io.ReadAll(b)
		if err = errors.Join(err, b.Close()); err != nil || !bytes.Equal(text, body(int(r.UID))) {
			w.t.Errorf("%s: message %d: %q, %v", user, r.UID, text, err)
		}
	}
	if !slices.Equal(got, numbers) {
		w.t.Errorf("%s has messages %v, want %v", user, got, numbers)
	}
}

func (w *world) collectOptions() collection.Options { return collection.Options{Lock: w.lock()} }

func (w *world) parts() []repository.Config { return []repository.Config{w.config()} }

// condemn puts packs on the list of condemned packs.
func (w *world) condemn(keys ...string) {
	w.t.Helper()
	u, err := repository.BeginCollection(w.t.Context(), w.config(), w.lock())
	if err != nil {
		w.t.Fatal(err)
	}
	err = collection.Condemn(w.t.Context(), w.config(), u, func(yield func(collection.Pack, error) bool) {
		for _, key := range keys {
			var p collection.Pack
			err := p.UnmarshalText([]byte(strings.TrimSuffix(key[len("packs/ab/"):], ".tar.zst")))
			if !yield(p, err) {
				return
			}
		}
	})
	if err = errors.Join(err, u.End(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// lost loses the n-th request from now on, or its answer.
func lost(n int, answer bool) faultstore.Fault {
	if answer {
		return faultstore.Fault{Skip: n, Count: 1, After: faultstore.Lost}
	}
	return faultstore.Fault{Skip: n, Count: 1, Before: faultstore.Lost}
}
