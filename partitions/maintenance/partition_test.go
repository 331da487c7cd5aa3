package maintenance_test

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// partition is a partition in memory with a clock.
type partition struct {
	t      *testing.T
	mu     sync.Mutex // for changes of now while the store is in use
	now    time.Time
	memory *memstore.Store
}

func newPartition(t *testing.T, now time.Time) *partition {
	p := &partition{t: t, now: now}
	p.memory = memstore.New(p.clock)
	p.putJSON(repository.Key, repository.Info{Version: repository.Version, ID: repository.NewID(), Created: now, Software: "test", Dedup: "partition",
		Chunker: repository.Chunker, Capabilities: probe.Capabilities{IfAbsent: true, IfAbsentRace: true, IfMatch: true, Range: true, Suffix: true, ListOrder: true, StoreTime: true}})
	return p
}

func (p *partition) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// setNow changes the clock, also while the store is in use.
func (p *partition) setNow(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

func (p *partition) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *partition) put(key string, b []byte) {
	p.t.Helper()
	_, err := p.memory.Put(p.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{})
	p.must(err)
}

func (p *partition) putJSON(key string, v any) {
	p.t.Helper()
	b, err := json.Marshal(v)
	p.must(err)
	p.put(key, b)
}

// user puts the backup.json of a user.
func (p *partition) user(name string) *repository.Found {
	p.t.Helper()
	info := repository.BackupInfo{Version: 1, Name: name, Kind: repository.KindUser, Created: p.now, ID: repository.NewID()}
	path := repository.UserName(name).Path()
	p.putJSON(repository.BackupInfoKey(path), info)
	return &repository.Found{Partition: repository.Config{Name: "p", Location: "memory", Store: p.memory}, Path: path, Info: info}
}
