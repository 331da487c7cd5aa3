package partitions_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// soakAside is a backup that was set aside. It keeps all its moments.
type soakAside struct {
	part  int
	where string
	path  string // of the backup
	past  []moment
	hurt  int // damage so far
}

// setAside sets a user's backup aside. The next sync starts a new one.
func (w *soak) setAside() error {
	u := w.fit()
	if u == nil {
		return nil
	}
	if err := w.markHeld(u); err != nil { // no retention works on it any more
		return err
	}
	t, home, past, held := pick(w, w.tools), w.home(u), u.past, u.held
	err := w.attacked("set-aside", t, u, func() error {
		list, err := repository.Remains(w.t.Context(), t.configs(), repository.UserName(u.name))
		if err != nil {
			return err
		}
		for _, f := range list {
			if _, _, err := f.SetAside(w.t.Context(), "soak", t.lock(), nil); err != nil && !errors.Is(err, repository.ErrNoBackup) {
				return err
			}
		}
		return nil
	}, func(error) bool { return false })
	if err != nil {
		return err
	}
	w.counts["set aside"]++
	w.endReadingOf(u)
	u.acked, u.all, u.past, u.moved, u.held = map[string]*source{}, false, nil, 0, false
	w.forget(u)
	mayGo := func(p moment) bool { // retention may have worked on it between two attempts
		return !held && (u.lied || p.at.Before(w.clock.now().Add(-soakKeep+2*timeOff)))
	}
	if err := w.noteAside(u.path(), home, past, mayGo); err != nil {
		return err
	}
	return w.sync(u)
}

// noteAside notes the copies of a backup that were set aside just now. The oldest one in its partition has
// its moments, but for those of mayGo that retention has removed.
func (w *soak) noteAside(path string, home int, past []moment, mayGo func(moment) bool) error {
	known := func(part int, where string) bool {
		return slices.ContainsFunc(w.aside, func(a soakAside) bool { return a.part == part && a.where == where })
	}
	for i, p := range w.parts {
		for f, err := range repository.BrowseAside(w.t.Context(), p.Config()) {
			if err != nil {
				return err
			}
			if f.Path != path || known(i, f.Where()) {
				continue
			}
			a := soakAside{part: i, where: f.Where(), path: path, hurt: w.hurt}
			if i == home {
				if a.past, err = w.keptIn(f, past, mayGo); err != nil {
					return err
				}
				past = nil
			}
			w.aside = append(w.aside, a)
			w.note("  %s in %s has %d moments", a.where, p.name, len(a.past))
			if err := w.checkAside(a, len(a.past)); err != nil {
				return err
			}
		}
	}
	if len(past) > 0 {
		return fmt.Errorf("%s was set aside nowhere", path)
	}
	return nil
}

// keptIn returns the moments without those of mayGo that a copy does not have.
func (w *soak) keptIn(f *repository.Found, past []moment, mayGo func(moment) bool) (kept []moment, err error) {
	for _, p := range past {
		if mayGo(p) {
			m, err := stateIn(w, f.Partition.Store, f.Path, p)
			if errors.Is(err, history.ErrNotKept) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if err := m.Close(); err != nil {
				return nil, err
			}
		}
		kept = append(kept, p)
	}
	return kept, nil
}

// checkAside compares some moments of a copy that was set aside.
func (w *soak) checkAside(a soakAside, some int) error {
	if a.hurt != w.hurt {
		return nil
	}
	f, err := repository.FindPath(w.t.Context(), w.parts[a.part].Config(), a.where)
	if err != nil {
		return err
	}
	for _, i := range w.rng.Perm(len(a.past))[:min(some, len(a.past))] {
		p := a.past[i]
		m, err := stateIn(w, f.Partition.Store, f.Path, p)
		if err != nil {
			return fmt.Errorf("%s at commit %d: %w", a.where, p.number, err)
		}
		w.counts["moments compared aside"]++
		if err := errors.Join(w.momentDiffers(f.Partition.Store, p, m), m.Close()); err != nil {
			return fmt.Errorf("%s: %w", a.where, err)
		}
	}
	return nil
}

// stateIn returns a moment of a backup in a store.
func stateIn(w *soak, s objstore.Store, path string, p moment) (*history.Mem, error) {
	return history.Load(w.t.Context(), s, path, history.Moment{Number: p.number})
}

// repairSome runs a repair, interrupted or not. A backup that is not damaged does not change.
func (w *soak) repairSome() error {
	u, t := w.fit(), pick(w, w.tools)
	if w.ill != nil && len(w.ill.users) > 0 && !w.clockOff() {
		return w.repairSick(t)
	}
	if u == nil {
		return nil
	}
	if err := w.sync(u); err != nil || w.home(u) < 0 {
		return err
	}
	whole := u.all
	if err := w.attacked("repair", t, u, func() error { return w.repairWith(u, t.configs()) }, func(error) bool { return false }); err != nil {
		return err
	}
	return w.unchanged(u, whole)
}

// repairSick begins a repair of damage, and perhaps does not end it: heal does.
func (w *soak) repairSick(t *soakTool) error {
	var sick []*soakUser
	for _, u := range w.users {
		if w.sick(u) {
			sick = append(sick, u)
		}
	}
	if len(sick) == 0 || t.busy {
		return nil
	}
	u, i, f := pick(w, sick), w.rng.IntN(len(w.parts)), w.drawFault(attacks())
	at := w.rng.IntN(100)
	w.note("a repair of %s by %s; fault: %s at request %d to %s", u.name, t.name, f.name, at, w.parts[i].name)
	t.busy = true
	f.do(w, t, t.nets[i], at)
	err := w.repairWith(u, t.configs())
	t.calm()
	t.busy = false
	w.note("  %v", err)
	w.clock.advance(second(w.rng.IntN(3600)))
	return w.amid
}
