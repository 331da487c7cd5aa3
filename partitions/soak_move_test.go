package partitions_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// move moves a backup to the other partition. Every moment that is kept moves with it, and no client
// has to send anything again.
func (w *soak) move() error {
	u := w.fit()
	if u == nil {
		return nil
	}
	if err := w.sync(u); err != nil || w.home(u) < 0 {
		return err
	}
	t, whole := pick(w, w.tools), u.all
	from := w.home(u)
	to := 1 - from
	err := w.attacked("move", t, u, func() error {
		set, end, err := t.scratch(t.configs()...)
		if err != nil {
			return err
		}
		dest, err := set.Partition(w.parts[to].name)
		if err == nil {
			_, err = transfer.Move(w.t.Context(), set.Configs(), repository.UserName(u.name), dest, t.lock(), nil)
		}
		if errors.Is(err, transfer.ErrThere) {
			err = nil // an earlier attempt has moved it
		}
		return errors.Join(err, end())
	}, func(error) bool { return false })
	if err != nil {
		return err
	}
	w.counts["moved"]++
	u.moved = to + 1
	w.forget(u)
	return w.unchanged(u, whole)
}

// unchanged checks after the work of a tool that a backup has all moments, and that clients who had sent
// everything before have nothing to send, unless mail has arrived meanwhile.
func (w *soak) unchanged(u *soakUser, whole bool) error {
	if err := w.checkPastOf(u, len(u.past)); err != nil {
		return err
	}
	for _, h := range w.hosts {
		if whole && u.all && !h.dead.Load() {
			if err := w.same(u, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// export copies a backup to another store. Some exports take several nights: compact runs meanwhile. The
// copy has every moment that is still kept at the end.
func (w *soak) export() error {
	u := w.fit()
	if u == nil || len(u.past) == 0 {
		return nil
	}
	t, out, newest := pick(w, w.tools), memstore.New(w.clock.now), u.past[len(u.past)-1].number
	home := w.home(u)
	f, err := repository.FindPath(w.t.Context(), t.configs()[home], u.path())
	if err != nil {
		return err
	}
	set, end, err := t.scratch(repository.Config{Name: "export", Location: "memory", Store: out})
	if err != nil {
		return err
	}
	defer func() { w.between(end()) }()
	nights := w.rng.IntN(4)
	w.note("export of %s by %s, with %d nights", u.name, t.name, nights)
	for range nights {
		t.nets[home].Add(meanwhile(w.rng.IntN(60), func() { w.between(w.nightMeanwhile(t, home)) }))
	}
	_, err = transfer.Copy(w.t.Context(), f, set.Partitions()[0], nil)
	t.calm()
	if err != nil && nights > 0 {
		w.note("  %v", err)
		w.counts["exported again"]++
		_, err = transfer.Copy(w.t.Context(), f, set.Partitions()[0], nil)
	}
	if err = errors.Join(err, w.amid); err != nil {
		return fmt.Errorf("export of %s: %w", u.name, err)
	}
	w.counts["exported"]++
	return w.checkExport(u, out, newest)
}

// nightMeanwhile lets a night pass while a tool works.
func (w *soak) nightMeanwhile(t *soakTool, part int) error {
	w.clock.advance(time.Duration(20+w.rng.IntN(10)) * time.Hour)
	return w.compact(w.otherTool(t), part, false)
}

// checkExport compares the moments up to a commit: mail may have arrived since the export has begun.
func (w *soak) checkExport(u *soakUser, out *memstore.Store, newest uint64) error {
	for _, p := range u.past {
		if p.number > newest {
			continue
		}
		err := w.checkMoment(u, p)
		if errors.Is(err, errDropped) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := stateIn(w, out, u.path(), p)
		if err != nil {
			return fmt.Errorf("the export of %s at commit %d: %w", u.name, p.number, err)
		}
		w.counts["moments exported"]++
		if err := errors.Join(w.momentDiffers(out, p, m), m.Close()); err != nil {
			return fmt.Errorf("the export of %s: %w", u.name, err)
		}
	}
	return nil
}
