package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// found returns the backup of a user in the bucket, or nil if there is none.
func (w *soak) found(u *soakUser) (*repository.Found, error) {
	at := w.home(u)
	if at < 0 {
		return nil, nil
	}
	return repository.FindPath(w.t.Context(), w.parts[at].Config(), u.path())
}

// verify returns the problems that `ctl_backups verify` reports.
func (w *soak) verify(u *soakUser) (problems []string, err error) {
	f, err := w.found(u)
	if f == nil || err != nil {
		return nil, err
	}
	_, err = verify.Run(w.t.Context(), f, verify.Options{Report: func(p verify.Problem) {
		// The log records missing and lost messages, too. Compaction removes what readers ignore.
		if !p.Missing && !p.Lost && !strings.Contains(p.Text, "so readers ignore") {
			problems = append(problems, p.String())
		}
	}})
	return problems, err
}

// state returns a user's state in the bucket, read without an index.
func (w *soak) state(u *soakUser, at history.Moment) (*history.Mem, error) {
	i := w.home(u)
	if i < 0 {
		return nil, fmt.Errorf("%s has no backup", u.name)
	}
	return history.Load(w.t.Context(), w.parts[i].store, u.path(), at)
}

// differs reports how the bucket differs from a user's mailboxes when they were last answered
// with OK, bodies included.
func (w *soak) differs(u *soakUser) error {
	m, err := w.state(u, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	boxes := slices.Collect(maps.Values(u.acked))
	if u.all {
		err = sameBoxes(m, boxes)
	} else {
		err = w.ackedDiffers(m, u)
	}
	if err != nil {
		return err
	}
	for _, b := range boxes {
		mb, err := m.Mailbox(b.uniqueid)
		if err != nil {
			return err
		}
		if !u.all && mb != nil && mb.Resync != "" {
			continue // the host has asked for all of it, also for messages that retention has dropped
		}
		if err := w.unreadable(m, w.parts[w.home(u)].store, b); err != nil {
			return err
		}
	}
	return nil
}

// leftOver reports live data of the person who had a user's name before.
func (w *soak) leftOver(u *soakUser) error {
	m, err := w.state(u, history.Moment{})
	if err != nil {
		return err
	}
	return errors.Join(u.account.leftOver(m), m.Close())
}

// ackedDiffers compares the mailboxes that the host answered with OK. A later change may have
// arrived even if its answer did not.
func (w *soak) ackedDiffers(m *history.Mem, u *soakUser) error {
	for id, a := range u.acked {
		now := u.account.boxes[id]
		if now == nil || now.name != a.name || now.modseq < a.modseq {
			continue // the result of the last sync is not known
		}
		if now.cleanedSince(a) {
			continue // the client may have sent EXPUNGE, which changes no counter
		}
		mb, err := m.Mailbox(id)
		switch {
		case err != nil:
			return err
		case mb == nil || !mb.Deleted.IsZero():
			return fmt.Errorf("%s: the mailbox was answered with OK, and is missing: %+v", a.name, mb)
		case mb.Resync != "":
			continue
		case fieldOf(mb, "HIGHESTMODSEQ") > a.modseq:
			continue
		}
		if err := a.differs(m); err != nil {
			return err
		}
	}
	return nil
}

// cleanedSince reports whether the mail server has forgotten records that were live.
func (m *source) cleanedSince(was *source) bool {
	there := map[uint32]bool{}
	for _, r := range m.records {
		there[r.UID] = true
	}
	return slices.ContainsFunc(was.live(), func(r *cyrus.Record) bool { return !there[r.UID] })
}

func fieldOf(m *history.MailboxState, key string) (n uint64) {
	for _, f := range m.Fields {
		if f.Key == key {
			_, _ = fmt.Sscan(f.Value.Str, &n) // 0 is smaller than every value
		}
	}
	return n
}

// unreadable reports the first message of a mailbox that cannot be read from a store.
func (w *soak) unreadable(m *history.Mem, s objstore.Store, b *source) error {
	objects := history.NewObjects(s, 0)
	for _, r := range b.live() {
		want, ok := b.bodies[r.GUID]
		if !ok {
			continue
		}
		if got, err := w.read(m, objects, r.GUID); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s uid %d, message %s: %d of %d bytes, %w", b.name, r.UID, r.GUID, len(got), len(want), err)
		}
	}
	return nil
}

func (w *soak) read(m *history.Mem, o *history.Objects, g [20]byte) ([]byte, error) {
	msg, err := m.Message(g)
	if err != nil {
		return nil, err
	}
	if msg == nil || msg.Missing {
		return nil, fmt.Errorf("the backup contains %+v", msg)
	}
	body, err := history.OpenMessage(w.t.Context(), o, msg, m.Places)
	if err != nil {
		return nil, err
	}
	var got bytes.Buffer
	_, err = got.ReadFrom(body)
	return got.Bytes(), errors.Join(err, body.Close())
}

// checkAcked checks after an unfinished sync that everything answered with OK is in the bucket.
func (w *soak) checkAcked(u *soakUser) error {
	if w.sick(u) {
		return w.checkAdmitted(u)
	}
	if len(u.acked) == 0 {
		return nil
	}
	if err := w.differs(u); err != nil {
		return fmt.Errorf("after an unfinished sync of %s: %w", u.name, err)
	}
	return nil
}

// checkAdmitted checks that verify reports what a user has lost by damage.
func (w *soak) checkAdmitted(u *soakUser) error {
	differs := w.differs(u)
	if differs == nil || w.ill.older {
		return nil // nothing in the bucket shows that its state is older
	}
	if f, err := w.found(u); f == nil || err != nil {
		return nil // every tool reports a missing backup.json
	}
	problems, err := w.verify(u)
	if err != nil {
		return fmt.Errorf("verify %s: %w", u.name, err)
	}
	if len(problems) == 0 && !w.resyncing(u) {
		return fmt.Errorf("%s has lost data, and verify does not report it: %w; there are %q", u.name, differs, w.keys(u))
	}
	return nil
}

// resyncing reports whether some mailbox is known to differ from the source's: the next sync
// sends it.
func (w *soak) resyncing(u *soakUser) bool {
	m, err := w.state(u, history.Moment{})
	if err != nil {
		return false
	}
	defer m.Close()
	for mb, err := range m.Mailboxes() {
		if err == nil && mb.Resync != "" {
			return true
		}
	}
	return false
}

// compare compares the bucket and the hosts with the source, after a sync that had nothing left
// to send.
func (w *soak) compare(u *soakUser, h *soakHost) error {
	if len(u.account.boxes) == 0 && w.isEmpty(u) {
		return nil
	}
	if err := errors.Join(w.differs(u), w.leftOver(u)); err != nil {
		return fmt.Errorf("%s after a sync to %s: %w", u.name, h.name, err)
	}
	if w.one(4) {
		if problems, err := w.verify(u); err != nil || len(problems) > 0 {
			again, _ := w.verify(u)
			return fmt.Errorf("verify %s after a sync to %s: %w, %q; again: %q; there are %q", u.name, h.name, err, problems, again, w.keys(u))
		}
	}
	if err := w.remember(u); err != nil {
		return err
	}
	if err := w.checkTime(u); err != nil {
		return err
	}
	for _, o := range w.hosts {
		if o != h && w.one(2) && !o.dead.Load() {
			return w.same(u, o)
		}
	}
	return nil
}

// isEmpty reports whether a user has no backup, or one whose first commit was never put.
func (w *soak) isEmpty(u *soakUser) bool {
	return w.home(u) < 0 || len(w.parts[w.home(u)].store.Keys(history.LogPrefix(u.path()))) == 0
}

// same checks that another host requests nothing, unless it finds its index out of date.
func (w *soak) same(u *soakUser, h *soakHost) error {
	p := &push{c: h.connection(), user: u.name, account: u.account}
	err := p.run(w.t.Context())
	h.conn.s.Restart(w.t.Context())
	w.note("%s to %s, which should be complete: %d commands, %v", u.name, h.name, p.applies, err)
	switch {
	case h.dead.Load() || err != nil && w.excused(u, h, err):
		return nil
	case err == nil && h.doubts.Swap(false):
		return w.same(u, h)
	case err != nil && heals(err):
		return w.syncWith(u, h)
	case err != nil || p.applies > 0:
		return fmt.Errorf("the bucket is complete for %s, but %s needs %d commands, %w: %s", u.name, h.name, p.applies, err, p.last)
	}
	h.knows[u.name] = true
	return nil
}

// timeOff is the limit for the error of a commit's time: somewhat more than the clock error
// that hosts do not detect.
const timeOff = 21 * time.Minute

// checkTime checks that no commit carries a single wrong answer of a store.
func (w *soak) checkTime(u *soakUser) error {
	if u.lied {
		return nil
	}
	m, err := w.state(u, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	if at := m.Tip().Time; at.After(w.clock.now().Add(timeOff)) {
		return fmt.Errorf("%s: commit %d carries the time %v, now is %v", u.name, m.Tip().Number, at, w.clock.now())
	}
	return nil
}

// remember records the newest commit with a copy of the source's mailboxes.
func (w *soak) remember(u *soakUser) error {
	m, err := w.state(u, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	p := moment{path: u.path(), number: m.Tip().Number, at: w.clock.now()}
	for _, b := range u.sorted() {
		p.boxes = append(p.boxes, b.clone())
	}
	u.past = append(u.past, p)
	if len(u.past) > 12 {
		u.past = slices.Delete(u.past, 3, 4)
	}
	return nil
}
