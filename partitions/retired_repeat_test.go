package partitions_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// older gives the target an older copy of the backup, complete and with backup.json. Nothing names the packs of its newer
// messages there, and their notes end.
func (x *exporting) older(path string) {
	x.t.Helper()
	x.mem.Rollback(x.start, "", false)
	x.c.now = x.at
	x.mem.Lose(history.RetiredKey)
	if err := x.export(x.mem); err != nil {
		x.t.Fatal(err)
	}
	had := map[string]bool{}
	for _, key := range x.mem.Keys(repository.BackupPrefix(path)) {
		had[key] = true
	}
	h := newHostWith(x.t, func(o *partitions.Options) { o.NoCheckpoints = true }, x.from.stores[0], x.from.stores[1])
	x.from.boxes[0].deliver(noise(77, 1200<<10))
	h.sync(x.from.who, x.from.boxes...)
	h.stop()
	if err := x.export(x.mem); err != nil {
		x.t.Fatal(err)
	}
	for _, key := range x.mem.Keys(repository.BackupPrefix(path)) {
		if !had[key] {
			x.mem.Lose(key)
		}
	}
	x.mem.Lose(collection.ResultKey)
	x.wait()
}

// A copy fails after it has put objects that name packs, while a collection removes the notes about these packs. The person
// repeats it at once, or hours later. Also if the target had an older copy of the backup, the repetition looks for the packs
// again.
func TestRepeatedCopyBesideRetiredNotes(t *testing.T) {
	x := newExporting(t)
	x.older(x.from.path())
	removed, repeated := 0, 0
	for _, pause := range []time.Duration{0, 3 * time.Hour} {
		for n, more := rand.IntN(repeatStep), true; more; n += repeatStep {
			x.mem.Rollback(x.start, "", false)
			x.c.now, more = x.at, false
			var arriving []string
			slow := faultstore.New(x.mem)
			slow.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "moved/") }, Before: func(op, key string) error {
				arriving = append(arriving, key)
				return faultstore.Lost(op, key)
			}})
			out := faultstore.New(x.mem)
			out.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				more = true
				x.collect(slow)
				removed += len(arriving)
			}})
			out.Add(faultstore.Fault{Skip: n + rand.IntN(40), Before: faultstore.Lost}) // the program dies
			err := x.export(out)
			x.c.now = x.c.now.Add(pause)
			for _, key := range arriving {
				x.mem.Lose(key)
			}
			if err != nil {
				repeated++
				err = x.export(x.mem)
			}
			if errors.Is(err, repository.ErrNoteEnds) {
				x.c.now = x.c.now.Add(3 * time.Hour)
				err = x.export(x.mem)
			}
			if err != nil {
				t.Fatalf("pause %s, request %d: %v", pause, n, err)
			}
			checkBucket(t, x.mem, x.from.path(), x.from.boxes...).Close()
			if t.Failed() {
				t.Fatalf("pause %s, request %d", pause, n)
			}
		}
	}
	if removed == 0 || repeated == 0 {
		t.Errorf("%d notes removed, %d copies repeated: this test no longer covers its case", removed, repeated)
	}
}

// repeatStep is how many requests are between two that TestRepeatedCopyBesideRetiredNotes tries.
const repeatStep = 15

// The newest commit of an export is the seal that led to the partition into which it is imported. An import fails after it
// has copied the log; what it found in the partition is removed meanwhile. The repetition copies it again.
func TestRepeatedImportOfMovedBackup(t *testing.T) {
	w, a := inTwo(t)
	w.mustMove(w.other())
	home := w.home()
	out := newStore()
	e := newHost(t, out)
	if _, err := transfer.Copy(t.Context(), home, e.set.Partitions()[0], nil); err != nil {
		t.Fatal(err)
	}
	e.stop()
	a.stop()
	target := w.storeOf(home)
	for _, key := range target.Keys(repository.BackupPrefix(w.path())) {
		target.Lose(key)
	}
	s := faultstore.New(target)
	s.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == repository.BackupInfoKey(w.path()) }, Before: faultstore.Denied})
	h := newHostWith(t, shortWait, s)
	imp := func() error {
		_, err := h.importFound(found(t, out), repository.LockOptions{Owner: "test", Host: "host"})
		return err
	}
	if err := imp(); !errors.Is(err, objstore.ErrDenied) {
		t.Fatal(err)
	}
	lost := 0
	for _, prefix := range []string{"moved/", "packs/"} {
		for _, key := range target.Keys(prefix) {
			target.Lose(key)
			lost++
		}
	}
	if err := imp(); err != nil || lost == 0 {
		t.Fatal(lost, err)
	}
	checkBucket(t, target, w.path(), w.boxes...).Close()
}

// storeOf returns the store of a backup.
func (w *two) storeOf(f *repository.Found) *memstore.Store {
	if f.Partition.Name == "p0" {
		return w.stores[0]
	}
	return w.stores[1]
}
