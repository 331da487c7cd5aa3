package partitions_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// errDropped is the result of a moment that retention has removed, and may remove.
var errDropped = errors.New("not kept any more")

// checkPast checks the history of all users against every recorded copy of the source.
func (w *soak) checkPast() error {
	for _, u := range w.users {
		if err := w.checkPastOf(u, len(u.past)); err != nil {
			return err
		}
	}
	return nil
}

// checkPastOf compares some moments of a user, and forgets those that are not kept.
func (w *soak) checkPastOf(u *soakUser, some int) error {
	for _, i := range w.rng.Perm(len(u.past))[:min(some, len(u.past))] {
		p := u.past[i]
		err := w.checkMoment(u, p)
		switch {
		case errors.Is(err, errDropped):
			w.counts["moments not kept any more"]++
			u.past[i].path = ""
		case err != nil:
			return err
		default:
			w.counts["moments compared"]++
		}
	}
	u.past = slices.DeleteFunc(u.past, func(p moment) bool { return p.path == "" })
	return nil
}

// checkMoment compares a moment, bodies included, with the copy of the source from then.
func (w *soak) checkMoment(u *soakUser, p moment) error {
	m, err := w.state(u, history.Moment{Number: p.number})
	if errors.Is(err, history.ErrNotKept) && !p.held && (u.lied || p.at.Before(w.clock.now().Add(-soakKeep+2*timeOff))) {
		return errDropped
	}
	if err != nil {
		return fmt.Errorf("%s at commit %d of %v: %w", u.name, p.number, p.at, err)
	}
	if err := errors.Join(w.momentDiffers(w.parts[w.home(u)].store, p, m), m.Close()); err != nil {
		return fmt.Errorf("%s: %w", u.name, err)
	}
	return nil
}

func (w *soak) momentDiffers(s objstore.Store, p moment, m *history.Mem) error {
	err := sameBoxes(m, p.boxes)
	for _, b := range p.boxes {
		if err == nil {
			err = w.unreadable(m, s, b)
		}
	}
	if err != nil {
		return fmt.Errorf("%s at commit %d: %w", p.path, p.number, err)
	}
	return nil
}

// soakReader is somebody who restores a moment of a user, slowly.
type soakReader struct {
	user  *soakUser
	state *history.Mem
	store objstore.Store
	moment
	begun time.Time
	hurt  int // damage so far
}

// readingTime is how long a restore may take: what retention removes is readable for a day.
const readingTime = 22 * time.Hour

// beginReading begins a restore.
func (w *soak) beginReading() error {
	u := pick(w, w.users)
	if w.reader != nil || w.ill != nil || len(u.past) == 0 {
		return nil
	}
	p := pick(w, u.past)
	if err := w.checkMoment(u, p); err != nil {
		if errors.Is(err, errDropped) {
			return nil
		}
		return err
	}
	m, err := w.state(u, history.Moment{Number: p.number})
	if err != nil {
		return err
	}
	w.note("a restore of %s at commit %d begins", u.name, p.number)
	w.reader = &soakReader{user: u, state: m, store: w.parts[w.home(u)].store, moment: p, begun: w.clock.now(), hurt: w.hurt}
	return nil
}

// endReading is called after each step. The restore ends some hours after its beginning.
func (w *soak) endReading() error {
	r := w.reader
	took := time.Duration(0)
	if r != nil {
		took = w.clock.now().Sub(r.begun)
	}
	if r == nil || took < 7*time.Hour {
		return nil
	}
	w.reader = nil
	if took > readingTime || r.hurt != w.hurt || w.ill != nil || w.rotten {
		return r.state.Close()
	}
	w.note("a restore of %s at commit %d ends after %v", r.user.name, r.number, took)
	w.counts["long restores"]++
	if err := errors.Join(w.momentDiffers(r.store, r.moment, r.state), r.state.Close()); err != nil {
		return fmt.Errorf("a restore that has lasted %v: %w", took, err)
	}
	return nil
}
