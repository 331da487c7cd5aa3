package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// An export can be read, extended by a second export, and imported by another host, which then
// continues the backup.
func TestExportAndImport(t *testing.T) {
	w, a := inTwo(t)
	w.mustMove(w.other()) // so that the log contains a seal
	out := newStore()
	export := func() repository.Copied {
		t.Helper()
		h := newHost(t, out)
		defer h.stop()
		c, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	export()
	checkBucket(t, out, w.path(), w.boxes...).Close()
	w.news(a)
	if c := export(); c.Objects == 0 || c.Objects > 3 {
		t.Errorf("an export of a small change copied %+v", c)
	}
	if c := export(); c.Objects != 0 || c.Chunks != 0 {
		t.Errorf("an export without changes copied %+v", c)
	}
	checkBucket(t, out, w.path(), w.boxes...).Close()

	target := newStore()
	h := newHost(t, target)
	_, err := h.importFound(found(t, out), repository.LockOptions{Owner: "test", Host: "host"})
	if err != nil {
		t.Fatal(err)
	}
	h.expectSame("anne", w.boxes...)
	w.news(h)
	checkBucket(t, target, w.path(), w.boxes...).Close()
	if _, err := h.importFound(found(t, out), repository.LockOptions{Owner: "test"}); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("a second import: %v, want ErrExist", err)
	}
}

func TestImportInterrupted(t *testing.T) {
	w, _ := inTwo(t)
	w.mustMove(w.other())
	for n := firstCall(); ; n += stride() {
		target := newStore()
		h := newHostWith(t, shortWait, target)
		f, done := fault(n, 1, errDenied)
		target.SetFaults(nil, ofPuts(f))
		imp := func() error {
			_, err := h.importFound(w.home(), repository.LockOptions{Owner: "test", Host: "host"})
			return err
		}
		err := imp()
		reached := done()
		target.SetFaults(nil, nil)
		if err != nil {
			if err = imp(); errors.Is(err, objstore.ErrExist) {
				err = nil
			}
		}
		if err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		h.expectSame("anne", w.boxes...)
		h.stop()
		if !reached {
			return
		}
	}
}

// A daemon writes a checkpoint while its backup is exported: the copy contains the whole
// checkpoint or none of it.
func TestExportWhileACheckpointIsWritten(t *testing.T) {
	w, _ := inTwo(t)
	from := w.home().Partition.Store.(*memstore.Store)
	for _, again := range []bool{false, true} { // a new checkpoint, and a rewritten one with other blocks
		out, lists, put := newStore(), 0, false
		from.SetFaults(func(op, key string) error {
			if op != "list" || key != history.LogPrefix(w.path()) || put {
				return nil
			}
			if lists++; lists == 2 { // the blocks are copied by now
				put = true
				at := history.Moment{FromLog: again}
				m, err := history.Load(t.Context(), from, w.path(), at)
				if err != nil {
					return err
				}
				defer m.Close()
				_, err = m.WriteCheckpoint(t.Context(), pack.Options{})
				return err
			}
			return nil
		}, nil)
		h := newHost(t, out)
		if _, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil); err != nil || !put {
			t.Fatalf("%v, a checkpoint was put: %v", err, put)
		}
		from.SetFaults(nil, nil)
		h.stop()
		checkBucket(t, out, w.path(), w.boxes...).Close()
		if problems, _ := verified(t, out, false); len(problems) > 0 {
			t.Errorf("rewritten %v: %q", again, problems)
		}
	}
}

// importFound imports a backup the way ctl_backups does.
func (h *host) importFound(f *repository.Found, o repository.LockOptions) (repository.Copied, error) {
	dest, err := h.set.Choose(h.t.Context(), f.Name())
	if err != nil {
		return repository.Copied{}, err
	}
	return transfer.Import(h.t.Context(), f, dest, o, nil)
}
