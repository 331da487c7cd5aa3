package collection_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// withInfo returns the backup of a user, as backup.json describes it.
func (w *world) withInfo(user string) *repository.Found {
	w.t.Helper()
	f := w.found(user)
	info, err := f.ReadInfo(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	f.Info = *info
	return f
}

// repair repairs the backup of a user, through the store s.
func (w *world) repair(s objstore.Store, user string) verify.RepairResult {
	w.t.Helper()
	f := w.withInfo(user)
	f.Partition.Store = s
	o := verify.RepairOptions{Lock: w.options().Lock, Others: []repository.Config{{Name: "p", Store: s}},
		Problem: func(p verify.Problem) { w.t.Logf("problem: %v", p) }, Report: func(c verify.Change) { w.t.Logf("change: %v", c) }}
	r, err := verify.Repair(w.t.Context(), f, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// The bytes of a condemned pack are also stored under the name of another pack. A repair of the other
// one begins after the pass has counted who needs the condemned pack, so it must lead nowhere
// else than to a new pack.
func TestRepairNeverLeadsToCondemned(t *testing.T) {
	for name, when := range map[string]func(op, key, condemned string) bool{
		"rewritten": func(op, key, condemned string) bool { return op == "get" && key == condemned },
		"removed":   func(op, key, _ string) bool { return op == "put" && strings.HasPrefix(key, "moved/") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			other, condemned := w.pack(1, 2), w.pack(1, 3)
			w.commit("anne", map[int]string{1: other, 2: other})
			if name == "rewritten" {
				w.commit("bert", map[int]string{3: condemned})
			}
			w.condemn(condemned)
			w.later(25 * hour)
			w.put(other, w.mem.Bytes(condemned))
			f := faultstore.New(w.mem)
			w.store = f
			ran := false
			f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return when(op, key, condemned) }, Call: func(string, string) {
				ran = true
				w.repair(w.mem, "anne")
			}})
			w.collect()
			if !ran || w.has(condemned) {
				t.Errorf("repaired during the pass: %v, pack exists: %v", ran, w.has(condemned))
			}
			if err := history.CheckChunk(t.Context(), history.NewObjects(w.mem, 0), place(1, other)); err != nil {
				t.Errorf("message 1 could be read before: %v", err)
			}
			if name == "rewritten" {
				w.check("bert")
			}
		})
	}
}
