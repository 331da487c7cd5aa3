package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// owns records that a user's backup may have everything that the source has now.
func (w *soak) owns(u *soakUser) {
	for id, b := range u.account.boxes {
		w.own(id, u.path())
		for _, r := range b.records {
			w.own(r.GUID.String(), u.path())
		}
	}
}

func (w *soak) own(needle, path string) {
	if w.owners[needle] == nil {
		w.owners[needle] = map[string]bool{}
	}
	w.owners[needle][path] = true
}

// inherits records that a backup may have everything that another one has had.
func (w *soak) inherits(path, from string) {
	for _, o := range w.owners {
		if o[from] {
			o[path] = true
		}
	}
}

// erase erases a user's backup. The account is deleted as well, or its next sync starts a new backup.
func (w *soak) erase() error {
	u := w.fit()
	if u == nil {
		return nil
	}
	gone := w.one(2) && len(w.users) > 3
	done, err := w.eraseName(u)
	if err != nil {
		return err
	}
	if gone && done && !u.again { // otherwise the new backup stays, with all that it has
		w.users = slices.DeleteFunc(w.users, func(o *soakUser) bool { return o == u })
		return w.sync(w.newUser())
	}
	return w.sync(u)
}

// eraseName erases all that the partitions have of a user. done is false if it is on hold.
func (w *soak) eraseName(u *soakUser) (done bool, err error) {
	t, name := pick(w, w.tools), repository.UserName(u.name)
	s, err := erasure.Look(w.t.Context(), w.configs(), name, w.clock.now)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", u.name, err)
	}
	if s.Held() != nil {
		return false, w.eraseHeld(t, s)
	}
	needles := w.needlesOf(u.path())
	err = w.attacked("erase", t, u, func() error {
		s, err := erasure.Look(w.t.Context(), t.configs(), name, w.clock.now)
		if err == nil {
			_, err = erasure.Erase(w.t.Context(), s, erasure.Options{By: "soak", Reason: "soak", Lock: t.lock()})
		}
		return err
	}, func(err error) bool {
		return errors.Is(err, erasure.ErrChanged) || errors.Is(err, erasure.ErrNewer) || w.releaseToErase(name, err)
	})
	if err != nil {
		return false, err
	}
	w.counts["erased"]++
	w.aside = slices.DeleteFunc(w.aside, func(a soakAside) bool { return a.path == u.path() })
	u.acked, u.all, u.past, u.moved, u.held = map[string]*source{}, false, nil, 0, false
	w.endReadingOf(u)
	w.forget(u)
	for n := range needles {
		delete(w.owners[n], u.path())
		w.erased[n] = u.name
	}
	if u.again { // a sync has begun a new backup meanwhile
		w.owns(u)
	}
	return true, w.searchErased(false)
}

// endReadingOf ends a restore of a backup whose objects are not in their place any more.
func (w *soak) endReadingOf(u *soakUser) {
	if w.reader != nil && w.reader.user == u {
		w.between(w.reader.state.Close())
		w.reader = nil
	}
}

// eraseHeld checks that nothing on hold is erased.
func (w *soak) eraseHeld(t *soakTool, s *erasure.Survey) error {
	w.note("erase of %s, which is on hold", s.Name)
	w.counts["erase refused"]++
	_, err := erasure.Erase(w.t.Context(), s, erasure.Options{By: "soak", Reason: "soak", Lock: t.lock()})
	if !errors.Is(err, repository.ErrOnHold) {
		return fmt.Errorf("erase of %s, which is on hold: %w", s.Name, err)
	}
	return nil
}

// releaseToErase releases all holds of a user, such as those of the tripwire during an erasure.
func (w *soak) releaseToErase(n repository.Name, err error) bool {
	if !errors.Is(err, repository.ErrOnHold) {
		return false
	}
	s, err := erasure.Look(w.t.Context(), w.configs(), n, w.clock.now)
	if err != nil {
		return false
	}
	for _, c := range s.Copies {
		if _, err := c.ReleaseHolds(context.WithoutCancel(w.t.Context()), w.clock.now, repository.AnyHold); err != nil {
			return false
		}
	}
	return true
}

// needlesOf returns what the copies of a backup contain, and no other backup has ever had.
func (w *soak) needlesOf(path string) map[string]bool {
	out := map[string]bool{}
	for _, p := range w.parts {
		all, err := w.search(p)
		w.between(err)
		for key, s := range all {
			if !strings.HasPrefix(key, "backups/"+path+"/") && !strings.HasPrefix(key, "set-aside/"+path+"/") {
				continue
			}
			for _, n := range s.needles {
				if o := w.owners[n]; len(o) == 1 && o[path] {
					out[n] = true
				}
			}
		}
	}
	return out
}

// searchErased searches everything for erased content. Packs may have it until collection has removed
// them; with whole, nothing may have it.
func (w *soak) searchErased(whole bool) error {
	if w.hurt > 0 {
		return nil // damage may have copied it elsewhere
	}
	for _, p := range w.parts {
		open, err := erasure.Open(w.t.Context(), p.Config())
		if err != nil {
			return err
		}
		if whole && len(open) > 0 {
			return fmt.Errorf("%s: the erasure of %s is still %s", p.name, open[0].Of(), open[0].State)
		}
		all, err := w.search(p)
		if err != nil {
			return err
		}
		w.counts["searches for erased mail"]++
		for _, key := range slices.Sorted(maps.Keys(all)) {
			n := w.erasedIn(all[key])
			// Nothing names an unused pack: the daemon has put it before a commit that failed.
			if n == "" || strings.HasPrefix(key, "packs/") && !whole && (len(open) > 0 || !w.isNamed(p, all, key)) {
				continue
			}
			return fmt.Errorf("%s in %s has %s, which was erased with %s; %s", key, p.name, n, w.erased[n], w.naming(p, key))
		}
	}
	return nil
}

// erasedIn returns something in an object that was erased, and belongs to nobody now; "" = nothing.
func (w *soak) erasedIn(s *searched) string {
	for _, n := range s.needles {
		if w.erased[n] != "" && len(w.owners[n]) == 0 {
			return n
		}
	}
	return ""
}

// dueErasures returns the erasures of a partition whose bodies can be removed, as ctl_backups compact does.
func (w *soak) dueErasures(t *soakTool, c repository.Config) (due []*repository.Erasure, err error) {
	open, err := erasure.Open(w.t.Context(), c)
	if err != nil {
		return nil, err
	}
	for _, e := range open {
		is, _ := erasure.Due(e, w.clock.now())
		switch {
		case e.InPart() && e.State != repository.ErasureDone:
			if is {
				if is, err = w.sweepPart(t, c, e); err != nil {
					return nil, err
				}
			}
			if is {
				due = append(due, e)
			}
		case is || e.State == repository.ErasureDone:
			due = append(due, e)
		case e.State == repository.ErasureRemoving:
			if _, err := erasure.Resume(w.t.Context(), c, e.Of(), t.lock()); err != nil {
				return nil, err
			}
		}
	}
	return erasure.Listed(w.t.Context(), c, due)
}

// settle ends erasures after a collection.
func (w *soak) settle(t *soakTool, c repository.Config, due []*repository.Erasure, r *collection.Result) error {
	if len(due) == 0 {
		return nil
	}
	settled, err := erasure.Settle(w.t.Context(), c, due, r, t.lock())
	for _, s := range settled {
		w.note("  erasure of %s: %s, %d packs left", s.Of(), s.State, s.Left)
		if s.State == repository.ErasureDone {
			w.counts["erasures done"]++
		}
	}
	return err
}

// eraseOld erases all users with copies that were set aside, or that moves have left.
func (w *soak) eraseOld() error {
	copies := map[string]int{}
	for _, p := range w.parts {
		seen := map[string]bool{}
		for _, key := range append(p.store.Keys("backups/user/"), p.store.Keys("set-aside/user/")...) {
			top, rest, _ := strings.Cut(key, "/user/")
			name, _, _ := strings.Cut(rest, "/")
			if !seen[top+name] {
				seen[top+name] = true
				copies[name]++
			}
			if top == "set-aside" {
				copies[name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		if copies[name] < 2 {
			continue
		}
		u := &soakUser{name: name, account: newAccount()}
		for _, o := range w.users {
			if o.name == name {
				u = o
			}
		}
		if !w.releaseToErase(repository.UserName(name), repository.ErrOnHold) {
			return fmt.Errorf("release of all copies of %s", name)
		}
		done, err := w.eraseName(u)
		if err == nil && !done {
			err = errors.New("it is still on hold")
		}
		if err != nil {
			return fmt.Errorf("erase of %s: %w", name, err)
		}
	}
	w.clock.advance(erasure.Grace + time.Hour)
	return nil
}
