package maintenance_test

import (
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The backup is erased and begun again before any request of a merge, by a program that could take
// the lease because this one was paused with all its clocks. Nothing of the new backup is removed,
// although it has the same numbers, and it can be read. A removal that was already sent is
// another matter: no check can come after it.
func TestMergeReplaced(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t)
		anne := w.backup("anne")
		anne.days(3)
		w.now = w.now.AddDate(0, 0, 4)
		var fresh *owner
		var commits []string
		removing := false
		s := faultstore.New(w.memory)
		s.Add(faultstore.Fault{Skip: n, Count: 1, Match: func(op, _ string) bool {
			removing = removing || op == "delete"
			return !removing
		}, Call: func(string, string) {
			for _, key := range w.memory.Keys("backups/") {
				w.memory.Lose(key)
			}
			fresh = w.backup("anne")
			fresh.days(2)
			commits = fresh.log()
		}})
		_, err := w.merge(s, anne)
		if s.Struck() == 0 {
			if n < 10 {
				t.Fatalf("only %d requests", n)
			}
			return
		}
		if err == nil {
			t.Errorf("request %d: no error although another backup is there", n)
		}
		for _, c := range commits {
			if !slices.Contains(fresh.log(), c) {
				t.Errorf("request %d: commit %s of the new backup was removed", n, c)
			}
		}
		fresh.must(w.memory)
	}
}

// A backup that was replaced between the list of all backups and the lease is not merged.
func TestMergeReplacedBefore(t *testing.T) {
	w := newWorld(t)
	anne := w.backup("anne")
	anne.days(3)
	f := anne.found(w.memory)
	for _, key := range w.memory.Keys("backups/") {
		w.memory.Lose(key)
	}
	fresh := w.backup("anne")
	fresh.days(3)
	w.now = w.now.AddDate(0, 0, 4)
	was := fresh.log()
	u, err := repository.BeginUpkeep(t.Context(), f, repository.LockOptions{Owner: "test", Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.must(u.End(t.Context())) }()
	m := w.merger(w.memory)
	job := m.Add(t.Context(), f, u)
	if err := m.Flush(t.Context()); err != nil || job.Err == nil || !slices.Equal(fresh.log(), was) {
		t.Errorf("%v, %v: the log is %q, want %q", err, job.Err, fresh.log(), was)
	}
}
