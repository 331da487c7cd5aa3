package attestation

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// world is a partition with a copy of its lists.
type world struct {
	t       testing.TB
	now     time.Time
	store   *memstore.Store
	outside *memstore.Store
	key     minisign.PrivateKey
	tips    map[string]history.Tip
}

func newWorld(t testing.TB, users ...string) *world {
	t.Helper()
	w := &world{t: t, now: noon, tips: map[string]history.Tip{}}
	w.store, w.outside = memstore.New(w.clock), memstore.New(w.clock)
	_, key, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.key = key
	info := repository.Info{Version: repository.Version, ID: repository.NewID(), Created: noon, Capabilities: probe.Capabilities{IfAbsent: true}}
	b, err := info.Encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, w.store, repository.Key, b)
	for _, user := range users {
		w.commit(user)
	}
	return w
}

func (w *world) clock() time.Time { return w.now }

func put(t testing.TB, s objstore.Store, key string, b []byte) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// commit puts the next commit of a user.
func (w *world) commit(user string) {
	w.t.Helper()
	path := repository.UserName(user).Path()
	tip := w.tips[path]
	if tip.Number == 0 {
		b, err := json.Marshal(repository.BackupInfo{Version: 1, Name: user, Kind: repository.KindUser, Created: w.now, ID: repository.NewID()})
		if err != nil {
			w.t.Fatal(err)
		}
		put(w.t, w.store, repository.BackupInfoKey(path), b)
	}
	h := history.Header{Backup: path, Number: tip.Number + 1, Prev: tip.Hash, Time: w.now, Host: "b1", Clock: w.now}
	b := history.NewBuilder(h, pack.Options{})
	if err := b.Event(&history.SubEvent{User: user, Name: fmt.Sprint("box ", h.Number), Subscribed: true}); err != nil {
		w.t.Fatal(err)
	}
	object, hash, err := b.Finish(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	put(w.t, w.store, history.LogKey(path, h.Number), object)
	w.tips[path] = history.Tip{Number: h.Number, Hash: hex.EncodeToString(hash[:]), Time: w.now}
}

func (w *world) config(s objstore.Store) repository.Config {
	return repository.Config{Name: "default", Location: "memory:default", Store: s}
}

// findings collects the reports.
type findings []string

func (f *findings) report(p Problem) { *f = append(*f, p.String()) }

func (w *world) options(f *findings) Options {
	return Options{Keys: PublicKeys{Public(w.key)}, Outside: w.outside, Host: "b1", Now: w.clock, Retention: MinAge, TrustETags: true, Report: f.report}
}

// seal makes a list, a minute later. Nothing is found.
func (w *world) seal() *Result {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	var f findings
	r, err := Seal(w.t.Context(), w.config(w.store), w.key, w.options(&f))
	if err != nil || len(f) > 0 {
		w.t.Fatalf("seal: %v, %q", err, f)
	}
	return r
}

// verify compares the partition with the newest list.
func (w *world) verify() (*Result, findings) {
	w.t.Helper()
	var f findings
	r, err := Verify(w.t.Context(), w.config(w.store), nil, w.options(&f))
	if err != nil {
		w.t.Fatalf("verify: %v", err)
	}
	return r, f
}
