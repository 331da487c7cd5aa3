package verify

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// tries is how often a backup is verified while retention removes objects of it.
	tries = 3
	// heldProblems is how many problems are held back until it is known that they are none.
	heldProblems = 1000
)

// heldBack holds problems back, because the objects that they are about may just have been
// removed by retention.
type heldBack struct {
	report func(Problem)
	held   []Problem
	passed bool // there were too many: all of them are reported
}

func (h *heldBack) add(p Problem) {
	h.held = append(h.held, p)
	if h.passed || len(h.held) > heldProblems {
		h.release()
	}
}

func (h *heldBack) release() {
	for _, p := range h.held {
		h.report(p)
	}
	h.held, h.passed = nil, true
}

// runSettled verifies the backup again if retention has removed objects meanwhile.
func runSettled(ctx context.Context, f *repository.Found, v Options) (*verifier, error) {
	for try := 1; ; try++ {
		h := &heldBack{report: v.Report}
		o := v
		o.Report = h.add
		w := newVerifier(ctx, f, o)
		err := w.run()
		if err == nil && try < tries && w.done.Damaged > 0 && !h.passed {
			var again bool
			if again, err = w.outdated(); again && err == nil {
				continue
			}
		}
		h.release()
		return w, err
	}
}

// outdated reports whether objects of the backup that were listed have been removed.
func (w *verifier) outdated() (bool, error) {
	first, err := w.f.Log().First(w.ctx)
	if err != nil || w.first > 0 && first > w.first {
		return err == nil, err
	}
	for n := range w.diagnosis.checkpoints {
		_, err := w.f.Partition.Store.Stat(w.ctx, history.CheckpointKey(w.f.Path, n))
		if errors.Is(err, objstore.ErrNotExist) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
