package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A pack that no backup names is condemned, and removed a day later unless a backup names it
// by then (package collection). A writer reads the list of condemned packs before a commit. If
// it is late, because its host slept or its request was delayed, the pack may be gone when the
// commit arrives. So a late commit proves its packs again before the client gets an OK.

// lateAfter is how long a commit may take after its packs were checked. It is far below the
// day that condemned packs are kept.
const lateAfter = time.Hour

// moment is a time by several clocks. The monotonic clock of a host stops while the host
// sleeps.
type moment struct {
	host  time.Time // may have a monotonic reading
	store time.Time // in an answer; zero = unknown
}

// apart returns the time between two moments by the clock that shows most.
func (m moment) apart(n moment) time.Duration {
	d := apart(m.host, n.host)
	if m.store.IsZero() || n.store.IsZero() {
		return d
	}
	return max(d, n.store.Sub(m.store).Abs())
}

// apart returns the time between two readings of the host's clock: the longer one of the
// monotonic clock and the clock that people set.
func apart(a, b time.Time) time.Duration {
	return max(b.Sub(a).Abs(), b.Round(0).Sub(a.Round(0)).Abs())
}

// notCondemned checks the packs that a commit is about to name. The client of a commit with a
// condemned one gets LOCKED, and is asked for the messages again.
func (w *Writer) notCondemned(ctx context.Context, at []history.Place) error {
	p := w.b.part
	if w.checked = (moment{host: w.b.set.opt.Now()}); len(at) == 0 {
		return nil
	}
	dead, when, err := p.condemned(ctx)
	if err != nil {
		return err
	}
	w.checked = when
	for _, pl := range at {
		if dead.Has(pl.Object) {
			return errors.Join(fmt.Errorf("chunk %s is in %s, which is about to be removed: %w", pl.Chunk, pl.Object, cyrus.ErrLocked), w.stage.forgetUnusable(p, dead))
		}
	}
	return nil
}

// names remembers the packs that the commit depends on, for provedAgain.
func (w *Writer) names(at []history.Place, ours bool) {
	for _, pl := range at {
		switch {
		case !strings.HasPrefix(pl.Object, "packs/"):
		case ours:
			w.again = append(w.again, pl)
		default:
			w.named = append(w.named, pl)
		}
	}
}

// provedAgain proves the packs of a commit that was late. It returns an error if one of them is
// gone, or may be removed at any time: the losses are noted, so that the backup is healed when
// it is next opened.
func (w *Writer) provedAgain(ctx context.Context) error {
	if len(w.named)+len(w.again) == 0 || w.checked.apart(w.b.putAt) <= lateAfter {
		return nil
	}
	w.b.set.log.Warn("a commit arrived long after its packs were checked: they are checked again",
		"backup", w.b.path, "number", w.b.entry.Number, "after", w.checked.apart(w.b.putAt).String())
	return w.b.part.proveLate(ctx, w.named, w.again)
}

// errLate reports a late commit that names packs which were removed before it.
var errLate = errors.New("packs were removed before a late commit that names them")

// proveLate checks the packs of a late commit: named, which it names first, and again, which
// earlier commits of the backup name too. The list is read before the packs are asked for,
// because a removed pack is taken off the list later.
func (p *Partition) proveLate(ctx context.Context, named, again []history.Place) error {
	p.forgetCondemned()
	for _, pl := range slices.Concat(named, again) {
		p.proofs.drop(objectID(pl.Object))
	}
	dead, _, err := p.condemned(ctx)
	var absent map[string]bool
	var gone []loss
	if err == nil {
		absent, err = p.absent(ctx, named)
	}
	if err == nil {
		_, gone, err = p.prove(ctx, again) // these may have been rewritten
	}
	for _, pl := range named {
		if err != nil || absent[pl.Object] || dead.Has(pl.Object) {
			gone = append(gone, loss{object: objectID(pl.Object), chunk: &pl.Chunk, how: lossDamaged})
		}
	}
	if len(gone) == 0 && err == nil {
		return nil
	}
	_, lerr := p.noteLost(gone, true)
	if err == nil {
		err = fmt.Errorf("partition %s: %w: %w", p.name, errLate, cyrus.ErrLocked)
	}
	return errors.Join(err, lerr)
}

// proveIfLate is proveLate for a commit that was found in the bucket. Its writer may have ended
// while the request to put it was delayed.
func (b *Backup) proveIfLate(ctx context.Context, found *objstore.Info) error {
	h := b.last
	made := h.Time
	if h.Clock.After(made) {
		made = h.Clock // an imported commit has an old time
	}
	if found.Modified.Sub(made) <= lateAfter {
		return nil
	}
	var named []history.Place
	err := await0(ctx, func() error {
		named = named[:0]
		for pl, err := range history.LogPlaces(ctx, b.part.store, history.LogKey(b.path, h.Number)) {
			if err != nil {
				return err
			}
			if strings.HasPrefix(pl.Object, "packs/") {
				named = append(named, pl)
			}
		}
		return nil
	})
	if err != nil || len(named) == 0 {
		return err
	}
	return b.part.proveLate(ctx, named, nil)
}
