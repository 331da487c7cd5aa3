package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// sync tells one of the hosts of a user.
func (w *soak) sync(u *soakUser) error { return w.syncWith(u, pick(w, w.hosts)) }

// syncTries is how often the mail server tries before it turns to other users.
const syncTries = 8

// syncWith is what a mail server does: it tries until nothing is left to send, or the host
// does not get any further. Of an error that nothing excuses the episode ends.
func (w *soak) syncWith(u *soakUser, h *soakHost) error {
	quiet, err := w.pushAll(u, h)
	if err != nil || h.dead.Load() {
		return err
	}
	if !quiet {
		return w.checkAcked(u)
	}
	u.acked, u.all = map[string]*source{}, true
	for id, b := range u.account.boxes {
		u.acked[id] = b.clone()
	}
	w.infect(u)
	if w.sick(u) {
		return w.checkAdmitted(u)
	}
	h.knows[u.name] = true
	return w.compare(u, h)
}

// pushAll pushes until the host has all; quiet says that it has.
func (w *soak) pushAll(u *soakUser, h *soakHost) (quiet bool, err error) {
	maps.DeleteFunc(u.acked, func(id string, _ *source) bool { return u.account.boxes[id] == nil })
	u.all, u.lied = false, u.lied || w.clocksWrong(h)
	failures := 0
	var said []string
	for range syncTries {
		p := &push{c: h.connection(), user: u.name, account: u.account, acked: func(b *source) { u.acked[b.uniqueid] = b.clone() }}
		err := p.run(w.t.Context())
		p.c.s.Restart(w.t.Context())
		said = append(said, fmt.Sprintf("%d commands, %v, %s", p.applies, err, p.last))
		w.note("%s to %s: %d commands, %v", u.name, h.name, p.applies, err)
		switch {
		case h.dead.Load():
			return false, nil
		case err != nil && !w.excused(u, h, err):
			return false, fmt.Errorf("sync of %s to %s: nothing excuses the error: %w", u.name, h.name, err)
		case err != nil:
			if failures++; failures == 2 {
				return false, nil
			}
		case p.applies == 0:
			return true, nil
		}
		w.clock.advance(second(w.rng.IntN(20)))
	}
	return false, fmt.Errorf("%s is never up to date:\n%s", u.name, strings.Join(said, "\n"))
}

// infect notes that a user has taken over what is damaged: a body in a pack whose bytes
// nobody has looked at since. verify reports it for this user, too.
func (w *soak) infect(u *soakUser) {
	if w.ill == nil || !w.ill.hidden || w.sick(u) || !w.looksDamaged(u) {
		return
	}
	w.note("%s refers to damage that nobody knows of", u.name)
	w.counts["infected"]++
	w.ill.users[u], u.past = true, nil
}

func (w *soak) clocksWrong(h *soakHost) bool {
	wrong := h.off.Load() != 0
	for _, p := range w.parts {
		wrong = wrong || p.off.Load() != 0
	}
	return wrong
}

// excused says whether trouble that is going on explains an error.
func (w *soak) excused(u *soakUser, h *soakHost, err error) bool {
	if !deferred(err) {
		return false
	}
	if w.sick(u) || errors.Is(err, context.DeadlineExceeded) { // the host's patience is short, and this machine busy
		return true
	}
	at := w.home(u)
	if errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrUnavailable) && (at < 0 || w.parts[at].lacks) {
		return true // it was said to be held, and is not: that is noticed before it is committed
	}
	for i, trouble := range h.trouble {
		closed := w.ill != nil && w.ill.closed == w.parts[i]
		// A host that does not know where a user is asks all buckets.
		if (trouble || closed) && (i == at || at < 0 || h.vague || !h.knows[u.name]) {
			return true
		}
	}
	return false
}

// home is the partition in which a user's backup is; -1 = in none.
func (w *soak) home(u *soakUser) int {
	for i, p := range w.parts {
		if len(p.store.Keys("backups/"+u.path()+"/")) > 0 {
			return i
		}
	}
	return -1
}

// deferred are the errors after which a mail server goes on with the next user, and comes
// again to this one. Any other makes it stop, or turn round and round.
func deferred(err error) bool {
	for _, e := range []error{cyrus.ErrUnavailable, cyrus.ErrLocked, cyrus.ErrClose, cyrus.ErrSyncChanged, cyrus.ErrNonexistent, cyrus.ErrAskUser} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
