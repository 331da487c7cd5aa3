package partitions_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// eraseMessage erases a message that a user has deleted from every moment, and completes that in the following nights. Mail
// may arrive meanwhile, also the same message again.
func (w *soak) eraseMessage() error {
	u := w.fit()
	if u == nil || w.hurt > 0 || len(u.past) == 0 {
		return nil
	}
	if err := w.sync(u); err != nil || w.home(u) < 0 || w.sick(u) {
		return err
	}
	g, ok := w.deletedMail(u)
	if !ok {
		return nil
	}
	w.endReadingOf(u)
	home, t := w.home(u), pick(w, w.tools)
	done, err := w.tryMessage(t, u, g)
	if err != nil || done == nil {
		return err
	}
	w.counts["messages erased"]++
	if err := w.finishMessage(home, u); err != nil {
		return err
	}
	if err := w.isErased(u, g, done.Commit); err != nil {
		return err
	}
	w.forget(u)
	return w.unchanged(u, false)
}

// deletedMail returns a message that a moment has, and that the user has not.
func (w *soak) deletedMail(u *soakUser) (g cyrus.GUID, ok bool) {
	live := map[cyrus.GUID]bool{}
	for _, b := range u.account.boxes {
		for _, r := range b.live() {
			live[r.GUID] = true
		}
	}
	for _, i := range w.rng.Perm(len(u.past)) {
		if u.past[i].path != u.path() {
			continue
		}
		for _, b := range u.past[i].boxes {
			for _, r := range b.live() {
				if !live[r.GUID] && b.bodies[r.GUID] != nil {
					return r.GUID, true
				}
			}
		}
	}
	return g, false
}

// tryMessage erases a message. It returns nil if that is refused.
func (w *soak) tryMessage(t *soakTool, u *soakUser, g cyrus.GUID) (done *erasure.Done, err error) {
	refused, name := false, repository.UserName(u.name)
	err = w.attacked("erase of message "+g.String(), t, u, func() error {
		o := w.forgetOptions(t)
		s, err := erasure.LookAtMessages(w.t.Context(), t.configs(), name, []cyrus.GUID{g}, o.RetainOptions)
		if err == nil {
			err = s.Held
		}
		if err == nil {
			done, err = erasure.EraseMessages(w.t.Context(), s, erasure.HistoryOptions{By: "soak", Reason: "soak", Forget: o})
		}
		refused = errors.As(err, new(*maintenance.LiveError)) || errors.Is(err, erasure.ErrNoMessage) || errors.Is(err, erasure.ErrCopies) || errors.Is(err, maintenance.ErrShared)
		if refused && w.open(w.home(u), u) == 0 {
			return nil
		}
		if errors.Is(err, maintenance.ErrTooYoung) {
			w.clock.advance(4 * 24 * time.Hour)
		}
		return err
	}, func(err error) bool {
		return errors.Is(err, maintenance.ErrTooYoung) || w.releaseAll(u, err)
	})
	if err != nil || refused {
		return nil, err
	}
	return done, nil
}

// open counts the erasures of parts of a user that are not done.
func (w *soak) open(part int, u *soakUser) (n int) {
	list, err := erasure.Open(w.t.Context(), w.parts[part].Config())
	w.between(err)
	for _, e := range list {
		if e.InPart() && e.Backup == u.path() {
			n++
		}
	}
	return n
}

func (w *soak) forgetOptions(t *soakTool) maintenance.ForgetOptions {
	return maintenance.ForgetOptions{RetainOptions: maintenance.RetainOptions{Policy: maintenance.Policy{LogMinAge: maintenance.MinLogAge}, Lock: t.lock()},
		Merge: maintenance.MergeOptions{PackSize: 16 << 10, Before: maintenance.LastDay(w.clock.now(), maintenance.MinLogAge)}}
}

// beginAll syncs users whose first commit was not put: after a day, such a backup blocks collections.
func (w *soak) beginAll(part int) error {
	s := w.parts[part].store
	for _, u := range slices.Clone(w.users) {
		if len(s.Keys(repository.BackupInfoKey(u.path()))) == 0 || len(s.Keys(history.LogPrefix(u.path()))) > 0 {
			continue
		}
		if err := w.sync(u); err != nil {
			return err
		}
	}
	return nil
}

// finishMessage runs compact in the following nights, until the erasure is done.
func (w *soak) finishMessage(part int, u *soakUser) error {
	for range 12 {
		if w.open(part, u) == 0 {
			w.counts["erasures of messages done"]++
			return nil
		}
		w.clock.advance(20 * time.Hour)
		if w.one(3) {
			if err := w.sync(u); err != nil {
				return err
			}
		}
		if err := w.beginAll(part); err != nil {
			return err
		}
		if err := w.compact(pick(w, w.tools), part, false); err != nil {
			return err
		}
		w.releaseAll(u, repository.ErrOnHold)
	}
	return fmt.Errorf("the erasure of a message of %s does not end", u.name)
}

// releaseAll is releaseToErase for a user who stays.
func (w *soak) releaseAll(u *soakUser, err error) bool {
	if !w.releaseToErase(repository.UserName(u.name), err) {
		return false
	}
	u.released()
	return true
}

// isErased checks that no recorded moment up to the event has the message, and notes it.
func (w *soak) isErased(u *soakUser, g cyrus.GUID, event uint64) error {
	store := w.parts[w.home(u)].store
	for _, p := range u.past {
		if p.number > event || p.path != u.path() {
			continue
		}
		for _, b := range p.boxes { // checkPast expects it no longer
			b.bodies = maps.Clone(b.bodies)
			delete(b.bodies, g)
		}
		m, err := w.state(u, history.Moment{Number: p.number})
		if errors.Is(err, history.ErrNotKept) {
			continue
		}
		if err != nil {
			return err
		}
		st, err := m.Message(g)
		if err == nil && st != nil {
			_, err = w.read(m, history.NewObjects(store, 0), g)
			if err = mustBeErased(st, err); err != nil {
				err = fmt.Errorf("%s at commit %d: message %s: %w", u.name, p.number, g, err)
			}
		}
		if err = errors.Join(err, m.Close()); err != nil {
			return err
		}
	}
	return nil
}

func mustBeErased(st *history.MessageState, err error) error {
	switch {
	case !st.Erased.IsZero(), errors.As(err, new(*history.ErasedError)):
		return nil
	case err == nil:
		return errors.New("it was erased, and can be restored")
	}
	return err
}

// sweepPart is the part of dueErasures for an erasure of a part of a backup. It reports whether its packs can be removed.
func (w *soak) sweepPart(t *soakTool, c repository.Config, e *repository.Erasure) (bool, error) {
	if e.Unfinished() { // a person runs it again
		return false, nil
	}
	swept, err := erasure.SweepHistory(w.t.Context(), c, e, w.forgetOptions(t))
	w.note("  sweep of an erasure of %s: %+v, %v", e.Of(), swept, err)
	return err == nil && swept.Complete(), err
}
