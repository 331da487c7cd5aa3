package collection_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// world is a partition in memory. The clocks of store and hosts are the same, and a test
// advances them.
type world struct {
	t     *testing.T
	mem   *memstore.Store
	store objstore.Store // mem, and what a test puts before it
	now   time.Time
	cache string
	count observe.Counter
	older bool // passes are those of a program that puts no register
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC), cache: t.TempDir()}
	w.mem = memstore.New(func() time.Time { return w.now })
	w.store = observe.New(w.mem, w.count.Hooks())
	w.dedup("partition")
	return w
}

// dedup puts repository.json.
func (w *world) dedup(between string) {
	w.t.Helper()
	info := repository.Info{Version: repository.Version, ID: repository.NewID(), Created: w.now, Dedup: between, Chunker: repository.Chunker,
		Capabilities: probe.Capabilities{IfAbsent: true, IfAbsentRace: true, IfMatch: true, Range: true, Suffix: true, ListOrder: true, StoreTime: true}}
	b, err := info.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(repository.Key, b)
}

func (w *world) config() repository.Config {
	return repository.Config{Name: "p", Location: "memory", Store: w.store}
}

func (w *world) put(key string, b []byte) {
	w.t.Helper()
	if _, err := w.mem.Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// body is a message: its number decides its bytes.
func body(n int) []byte { return []byte(fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", n)) }

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

func place(n int, pack string) history.Place {
	m := message(n)
	return history.Place{Chunk: m.Chunks[0], Object: pack, Entry: m.GUID.String() + ".eml"}
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

// commit puts a commit with these messages as live records, in packs, and other events.
func (w *world) commit(user string, in map[int]string, events ...history.Event) {
	w.t.Helper()
	f := w.found(user)
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	o := repository.LockOptions{Now: func() time.Time { return w.now }}
	b := history.NewBuilder(o.Header(f, tip, w.now), pack.Options{})
	if tip.Number == 0 {
		w.event(b, &history.MailboxEvent{UniqueID: "inbox", Name: "user." + user})
	}
	for _, n := range slices.Sorted(mapsKeys(in)) {
		m := message(n)
		w.event(b, &history.MessagesEvent{Messages: []history.Message{m}})
		w.event(b, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{w.record(n)}})
		if in[n] == "" {
			b.Inline(m.GUID.String()+".eml", body(n))
			b.Place(place(n, "."))
		} else {
			b.Place(place(n, in[n]))
		}
	}
	for _, e := range events {
		w.event(b, e)
	}
	if won, err := f.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
}

func (w *world) record(n int) *cyrus.Record {
	m := message(n)
	return &cyrus.Record{UID: uint32(n), ModSeq: 1, GUID: m.GUID, Size: uint32(m.Size), LastUpdated: w.now.Unix(), InternalDate: w.now.Unix()}
}

func (w *world) event(b *history.Builder, e history.Event) {
	w.t.Helper()
	if err := b.Event(e); err != nil {
		w.t.Fatal(err)
	}
}

// expunge returns the event that expunges messages.
func expunge(numbers ...int) history.Event {
	e := &history.ExpungeEvent{UniqueID: "inbox"}
	for _, n := range numbers {
		e.UIDs = append(e.UIDs, uint32(n))
	}
	return e
}

// checkpoint writes the newest state.
func (w *world) checkpoint(user string) uint64 {
	w.t.Helper()
	m, err := w.found(user).Load(w.t.Context(), history.Moment{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	c, err := m.WriteCheckpoint(w.t.Context(), pack.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Number
}

// retain forgets everything that was expunged up to now, and all earlier moments.
func (w *world) retain(user string) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	w.commit(user, nil, &history.PruneEvent{Before: w.now.Add(time.Second)})
	n := w.checkpoint(user)
	w.commit(user, nil, &history.RetainedEvent{From: 1, To: n})
	path := w.found(user).Path
	for _, key := range w.mem.Keys(repository.BackupPrefix(path)) {
		_, to, log := history.ParseLogKey(path, key)
		at, checkpoint := history.ParseCheckpointKey(path, key)
		if log && to <= n || checkpoint && at < n {
			w.mem.Lose(key)
		}
	}
}

// collect runs a pass, which must succeed.
func (w *world) collect() *collection.Result {
	w.t.Helper()
	r, err := w.tryCollect()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range r.Blocked {
		w.t.Errorf("blocked: %v", b)
	}
	return r
}

func (w *world) options() collection.Options {
	return collection.Options{Cache: w.cache, Lock: repository.LockOptions{Owner: "test", Now: func() time.Time { return w.now }}}
}

func (w *world) tryCollect() (*collection.Result, error) {
	r, err := collection.Collect(w.t.Context(), w.config(), w.options())
	if w.older && w.mem.Bytes(collection.ResultKey) != nil {
		w.asOlder()
		w.mem.Lose(collection.RegisterKey)
	}
	return r, err
}

// later advances the clocks.
func (w *world) later(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) has(key string) bool { return w.mem.Bytes(key) != nil }

func (w *world) condemned(key string) bool {
	w.t.Helper()
	list, _, err := history.ReadCondemned(w.t.Context(), w.mem)
	if err != nil {
		w.t.Fatal(err)
	}
	return list.Has(key)
}

// collectUntil runs passes for some days, one a night.
func (w *world) collectFor(days int) {
	w.t.Helper()
	for range days {
		w.collect()
		w.later(25 * hour)
	}
}

// check reads every message of every moment that can be loaded.
func (w *world) check(user string) {
	w.t.Helper()
	for _, err := range w.broken(user) {
		w.t.Errorf("%s: %v", user, err)
	}
}

// broken returns the errors of messages that cannot be read in a moment that can be loaded.
func (w *world) broken(user string) (list []error) {
	w.t.Helper()
	f := w.found(user)
	newest, err := f.HighestNumber(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	objects := history.NewObjects(w.mem, 0)
	for n := uint64(1); n <= newest; n++ {
		m, err := f.Load(w.t.Context(), history.Moment{Number: n})
		if errors.Is(err, history.ErrBeforeFirst) || errors.Is(err, history.ErrAbsent) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, w.unreadable(objects, m)...)
		if err := m.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	return list
}

func (w *world) unreadable(objects *history.Objects, m *history.Mem) (list []error) {
	for msg, err := range m.Messages() {
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range msg.Chunks {
			if err := w.readable(objects, m, c); err != nil {
				list = append(list, fmt.Errorf("commit %d: %w", m.Tip().Number, err))
			}
		}
	}
	return list
}

// readable returns nil if a place of the chunk can be read.
func (w *world) readable(objects *history.Objects, m *history.Mem, c history.ChunkID) error {
	places, err := m.Places(c)
	if err != nil {
		return err
	}
	err = fmt.Errorf("chunk %s has no place", c)
	for _, p := range places {
		if err = history.CheckChunk(w.t.Context(), objects, p); err == nil {
			return nil
		}
	}
	return err
}

// packs returns the keys of all packs.
func (w *world) packs() []string {
	keys := w.mem.Keys("packs/")
	return slices.DeleteFunc(keys, func(k string) bool { return !strings.HasSuffix(k, ".tar.zst") })
}

func mapsKeys[V any](m map[int]V) func(func(int) bool) {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
