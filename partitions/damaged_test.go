package partitions_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// spoiled lists ways to damage a checkpoint.
func spoiled(t *testing.T) map[string]func(*memstore.Store) {
	each := func(s *memstore.Store, kind string, do func(key string)) {
		for _, key := range containers(t, s) {
			if strings.Contains(key, kind) {
				do(key)
			}
		}
	}
	return map[string]func(*memstore.Store){
		"a checkpoint is damaged": func(s *memstore.Store) {
			each(s, "/checkpoints/", func(key string) { replace(t, s, key, flipped(body(t, s, key))) })
		},
		"blocks of a checkpoint are damaged": func(s *memstore.Store) {
			each(s, "/records/", func(key string) { replace(t, s, key, flipped(body(t, s, key))) })
		},
		"blocks of a checkpoint are lost": func(s *memstore.Store) {
			each(s, "/records/", func(key string) {
				if err := s.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			})
		},
	}
}

// flipped returns a copy of b with one bit of the first frame's content flipped.
func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[40] ^= 0x10
	return b
}

// A checkpoint only saves reading the log. If it cannot be read, a host builds its index from
// the log, continues, and writes the next checkpoint from there.
func TestHostWithDamagedCheckpoint(t *testing.T) {
	for name, spoil := range spoiled(t) {
		store := newStore()
		h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, store)
		inbox := newSource("user.anne")
		for n := range 5 {
			inbox.deliver(mail(n, 2000))
		}
		h.sync("anne", inbox)
		checkpoint(t, store)
		inbox.deliver(mail(10, 2000))
		h.sync("anne", inbox)
		spoil(store)

		fresh := newHostWith(t, func(o *partitions.Options) { o.CheckpointObject = 1 }, store)
		fresh.expectSame("anne", inbox)
		for n := range 3 {
			inbox.deliver(mail(20+n, 2000))
			fresh.sync("anne", inbox)
		}
		fresh.stop() // a checkpoint in progress is finished or abandoned
		m, err := history.Load(t.Context(), store, "user/anne", history.Moment{FromLog: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := inbox.differs(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m.Close()
	}
}

// A host whose known checkpoint is damaged writes the next one without it.
func TestNextCheckpointAfterDamage(t *testing.T) {
	for name, spoil := range spoiled(t) {
		store := newStore()
		h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, store)
		inbox := newSource("user.anne")
		inbox.deliver(mail(1, 2000))
		h.sync("anne", inbox)
		checkpoint(t, store)
		later := newHostWith(t, func(o *partitions.Options) { o.CheckpointObject = 1 }, store)
		later.expectSame("anne", inbox)
		spoil(store)
		inbox.deliver(mail(2, 2000))
		later.sync("anne", inbox)
		log := history.Log{Store: store, Backup: "user/anne"}
		var numbers []uint64
		for end := time.Now().Add(10 * time.Second); len(numbers) < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			var err error
			if numbers, err = log.Checkpoints(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if len(numbers) < 2 {
			t.Errorf("%s: no second checkpoint was written", name)
			continue
		}
		m := load(t, store, "user/anne")
		if err := inbox.differs(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m.Close()
	}
}
