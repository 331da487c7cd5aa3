package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// sync syncs a user to one of the hosts.
func (w *soak) sync(u *soakUser) error { return w.syncWith(u, pick(w, w.hosts)) }

// syncTries is the number of attempts before the mail server continues with other users.
const syncTries = 8

// syncWith does what a mail server does: it retries until nothing is left to send, or the host
// makes no progress. An unexpected error ends the episode.
func (w *soak) syncWith(u *soakUser, h *soakHost) error {
	quiet, err := w.pushAll(u, h)
	if err != nil || h.dead.Load() {
		return err
	}
	if u.amid {
		u.again = true
		return nil
	}
	if !quiet {
		return w.checkAcked(u)
	}
	u.acked, u.all, u.back = map[string]*source{}, true, false
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

// pushAll pushes until the host has everything. quiet reports whether it does.
func (w *soak) pushAll(u *soakUser, h *soakHost) (quiet bool, err error) {
	maps.DeleteFunc(u.acked, func(id string, _ *source) bool { return u.account.boxes[id] == nil })
	u.all, u.lied = false, u.lied || w.clocksWrong(h)
	w.owns(u)
	failures, healed := 0, map[string]bool{}
	var attempts []string
	for range syncTries {
		p := &push{c: h.connection(), user: u.name, account: u.account, all: w.rolled || w.undone, acked: u.ack}
		err := p.run(w.t.Context())
		p.c.s.Restart(w.t.Context())
		attempts = append(attempts, fmt.Sprintf("%d commands, %v, %s", p.applies, err, p.last))
		w.note("%s to %s: %d commands, %v", u.name, h.name, p.applies, err)
		switch {
		case h.dead.Load():
			return false, nil
		case err != nil && !healed[err.Error()] && (heals(err) || u.back && asksForAll(err)):
			healed[err.Error()] = true // each mailbox may have its own loss
		case err != nil && !w.excused(u, h, err):
			return false, fmt.Errorf("sync of %s to %s: unexpected error: %w", u.name, h.name, err)
		case err != nil:
			if failures++; failures == 2 {
				return false, nil
			}
		case p.applies == 0:
			return true, nil
		}
		w.clock.advance(second(w.rng.IntN(20)))
	}
	return false, fmt.Errorf("%s is never up to date:\n%s", u.name, strings.Join(attempts, "\n"))
}

// infect marks a user who has taken over hidden damage: a reference to a pack whose bytes no
// host has read since the damage, or a partition whose repository.json is damaged. verify reports the damage for this user, too.
func (w *soak) infect(u *soakUser) {
	if at := w.home(u); w.ill != nil && w.ill.closed != nil && at >= 0 && w.parts[at] == w.ill.closed {
		w.ill.users[u] = true // the host still knows the damaged repository.json, and began a backup there
		return
	}
	if !w.rotten && (w.ill == nil || !w.ill.hidden) || w.sick(u) || !w.looksDamaged(u) {
		return
	}
	if w.ill == nil {
		w.ill = &illness{what: "earlier damage, in a pack that no backup needed", users: map[*soakUser]bool{}, packs: true, hidden: true}
	}
	w.note("%s refers to undetected damage", u.name)
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

// heals reports whether an error ends with the next attempt, without any trouble: the index has lost
// the place of a message that the backup's own log has (certain.go), an older index has found a late commit, whose packs
// were rewritten since (late.go), or the new INBOX has ended a mailbox that the client updates.
func heals(err error) bool {
	return errors.Is(err, cyrus.ErrNonexistent) ||
		errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrUnavailable) &&
			(strings.Contains(err.Error(), "lacks what the index") || strings.Contains(err.Error(), "removed before a late commit"))
}

// asksForAll reports whether the host wants a mailbox as a whole: the client has not sent a message, because it believes that
// the host has it under this UID.
func asksForAll(err error) bool {
	return errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrUnavailable) && strings.Contains(err.Error(), "asked for as a whole")
}

// excused reports whether current trouble explains an error.
func (w *soak) excused(u *soakUser, h *soakHost, err error) bool {
	if !deferred(err) {
		return false
	}
	if u.amid || w.sick(u) || errors.Is(err, context.DeadlineExceeded) { // the host's timeout is short, and this machine busy
		return true
	}
	at := w.home(u)
	if errors.Is(err, cyrus.ErrLocked) && (strings.Contains(err.Error(), "which is about to be removed") || strings.Contains(err.Error(), "no backup needed them")) {
		return true // a pack was condemned since the host answered that it has a message of it
	}
	if errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrUnavailable) && (at < 0 || w.parts[at].lacks) {
		return true // a message was reported as held, and is lost: the host detects this before the commit
	}
	for i, trouble := range h.trouble {
		closed := w.ill != nil && w.ill.closed == w.parts[i]
		// A host that does not know a user's partition asks all buckets, and one that finds two copies reads both.
		if (trouble || closed) && (i == at || at < 0 || u.moved > 0 || h.vague || !h.knows[u.name]) {
			return true
		}
	}
	return false
}

// home returns the partition of a user's backup; -1 = none.
func (w *soak) home(u *soakUser) int {
	if u.moved > 0 {
		return u.moved - 1
	}
	for i, p := range w.parts {
		if len(p.store.Keys("backups/"+u.path()+"/")) > 0 {
			return i
		}
	}
	return -1
}

// deferred reports whether a mail server continues with the next user after an error, and
// retries later. After any other error it stops, or retries in an endless loop.
func deferred(err error) bool {
	for _, e := range []error{cyrus.ErrUnavailable, cyrus.ErrLocked, cyrus.ErrClose, cyrus.ErrSyncChanged, cyrus.ErrNonexistent, cyrus.ErrAskUser} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
