package partitions_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// soakUser is a user of the mail server.
type soakUser struct {
	name    string
	account *account
	acked   map[string]*source // mailboxes when they were last answered with OK, by uniqueid
	past    []moment           // states that were compared with the bucket
	all     bool               // acked contains all mailboxes
	held    bool               // on hold
	lied    bool               // commits may carry wrong times: a clock was wrong
	amid    bool               // a tool works on the backup
	again   bool               // a sync has reached a host while a tool worked
	back    bool               // the source was set back and may use UIDs again, and has not synced everything since
	moved   int                // the partition into which the backup was moved, plus 1; 0 = it was not
}

func (u *soakUser) path() string { return repository.UserName(u.name).Path() }

// sorted returns the user's mailboxes in a fixed order.
func (u *soakUser) sorted() (out []*source) {
	for _, id := range slices.Sorted(maps.Keys(u.account.boxes)) {
		out = append(out, u.account.boxes[id])
	}
	return out
}

// ack records that a host has answered a mailbox with OK. A new INBOX ends all others, also those of the same person, who
// had renamed the former one.
func (u *soakUser) ack(b *source) {
	if cyrus.IsInbox(b.name) && u.acked[b.uniqueid] == nil {
		clear(u.acked)
	}
	u.acked[b.uniqueid] = b.clone()
}

func (w *soak) newUser() *soakUser {
	u := &soakUser{name: fmt.Sprintf("u%d", w.number()), account: newAccount(), acked: map[string]*source{}}
	w.users = append(w.users, u)
	u.account = u.account.nextPerson(u.name, w.number) // with an INBOX
	for range w.rng.IntN(2) {
		w.newMailbox(u)
	}
	return u
}

func (w *soak) newMailbox(u *soakUser) {
	n := w.number()
	b := newSource(fmt.Sprintf("user.%s.Box%d", u.name, n))
	b.uniqueid = fmt.Sprintf("unique%06d", n)
	u.account.boxes[b.uniqueid] = b
	for range 1 + w.rng.IntN(3) {
		b.deliver(w.body())
	}
}

// body returns a message: a new message, or a message of other users.
func (w *soak) body() []byte {
	if len(w.mail) > 0 && w.one(3) {
		return w.mail[max(0, len(w.mail)-1-w.rng.IntN(30))]
	}
	b := mail(w.number(), pick(w, []int{0, 300, 600, 1500, 3000}))
	w.mail = append(w.mail, b)
	return b
}

// soakChange is a change of the source, with its weight.
type soakChange struct {
	weight int
	name   string
	do     func(w *soak, u *soakUser, b *source)
}

var soakChanges = []soakChange{
	{10, "deliver", func(w *soak, _ *soakUser, b *source) {
		for range 1 + w.rng.IntN(3) {
			b.deliver(w.body())
		}
	}},
	{5, "newsletter", func(w *soak, _ *soakUser, b *source) { // deleted unread: nobody needs its pack
		for _, r := range b.live() {
			if len(b.bodies[r.GUID]) > 5000 {
				b.flag(r, `\Deleted`, `\Expunged`)
			}
		}
		body := mail(w.number(), 6000)
		w.mail = append(w.mail, body)
		b.deliver(body)
	}},
	{4, "flag", func(w *soak, _ *soakUser, b *source) {
		if live := b.live(); len(live) > 0 {
			b.flag(pick(w, live), `\Seen`, fmt.Sprintf("$%d", w.rng.IntN(4)))
		}
	}},
	{5, "expunge", func(w *soak, _ *soakUser, b *source) {
		for _, r := range b.live() {
			if w.one(3) {
				b.flag(r, `\Deleted`, `\Expunged`)
			}
		}
	}},
	{3, "clean up", func(_ *soak, _ *soakUser, b *source) {
		for _, r := range b.records {
			if r.Expunged() {
				b.deletedModSeq = max(b.deletedModSeq, r.ModSeq)
			}
		}
		b.records = b.live()
	}},
	{2, "create", func(w *soak, u *soakUser, _ *source) {
		if len(u.account.boxes) < 4 {
			w.newMailbox(u)
		}
	}},
	{2, "rename", func(w *soak, u *soakUser, b *source) {
		if cyrus.IsInbox(b.name) {
			return // no mail server renames an INBOX
		}
		b.name = fmt.Sprintf("user.%s.Box%d", u.name, w.number())
	}},
	{1, "delete", func(_ *soak, u *soakUser, b *source) {
		if len(u.account.boxes) > 1 && !cyrus.IsInbox(b.name) {
			delete(u.account.boxes, b.uniqueid)
		}
	}},
	{1, "copy all", func(w *soak, u *soakUser, b *source) { // messages that others have, too
		o := pick(w, w.users)
		for _, from := range o.sorted() {
			for _, r := range from.live() {
				if body, ok := from.bodies[r.GUID]; ok && len(b.records) < 12 {
					b.deliver(body)
				}
			}
		}
	}},
	{1, "another person", func(w *soak, u *soakUser, _ *source) {
		for id, b := range u.account.boxes {
			if cyrus.IsInbox(b.name) && u.acked[id] == nil {
				return // no host has seen this INBOX, so that none sees that it is replaced
			}
		}
		u.account, u.all = u.account.nextPerson(u.name, w.number), false
	}},
	{1, "quota", func(w *soak, u *soakUser, _ *source) { u.account.quota = uint64(w.number()) }},
	{1, "seen", func(w *soak, u *soakUser, _ *source) { u.account.seen = fmt.Sprint("1:", w.number()) }},
	{1, "sieve", func(w *soak, u *soakUser, _ *source) { u.account.sieve = fmt.Sprintf("keep; # %d", w.number()) }},
	{1, "sub", func(_ *soak, u *soakUser, b *source) { u.account.subs[b.name] = !u.account.subs[b.name] }},
}

// someUser returns a user who has mailboxes.
func (w *soak) someUser() *soakUser {
	u := pick(w, w.users)
	if len(u.account.boxes) == 0 { // deleted, and no host received the deletion
		w.newMailbox(u)
		u.all = false
	}
	return u
}

// change changes the source at random, and mostly syncs the change.
func (w *soak) change() error {
	u := w.someUser()
	total := 0
	for _, c := range soakChanges {
		total += c.weight
	}
	for range 1 + w.rng.IntN(2) {
		n := w.rng.IntN(total)
		for _, c := range soakChanges {
			if n -= c.weight; n < 0 {
				b := pick(w, u.sorted())
				w.note("%s: %s in %s", u.name, c.name, b.name)
				c.do(w, u, b)
				break
			}
		}
	}
	if w.one(6) {
		return nil
	}
	return w.sync(u)
}

// restoreSource returns a mailbox of the source to an earlier state that was synced.
func (w *soak) restoreSource() error {
	u := w.someUser()
	b := pick(w, u.sorted())
	for _, p := range u.past {
		for _, o := range p.boxes {
			if o.uniqueid == b.uniqueid && o.modseq < b.modseq && len(o.live()) > 0 && o.hasBodies() {
				old := o.clone()
				old.name = b.name
				u.account.boxes[b.uniqueid], u.back = old, true
				w.note("%s: %s is restored from modseq %d to %d", u.name, b.name, b.modseq, old.modseq)
				return w.sync(u)
			}
		}
	}
	return nil
}

// hasBodies reports whether the source can send all messages: a moment has no erased ones.
func (m *source) hasBodies() bool {
	for _, r := range m.live() {
		if m.bodies[r.GUID] == nil {
			return false
		}
	}
	return true
}

// renameUser renames a user, either with RENAME or so that the host has to detect the new name
// by itself.
func (w *soak) renameUser() error {
	u := w.someUser()
	if err := w.sync(u); err != nil || !u.all {
		return err
	}
	n := &soakUser{name: fmt.Sprintf("u%d", w.number()), account: newAccount(), acked: map[string]*source{}, lied: u.lied}
	if w.sick(u) {
		w.ill.users[n] = true
	}
	h, byRename := pick(w, w.hosts), w.one(2)
	w.note("%s becomes %s; by RENAME: %v", u.name, n.name, byRename)
	if byRename && w.clocksWrong(h) { // commits in both backups
		u.lied, n.lied = true, true
	}
	for _, b := range u.sorted() {
		old := b.name
		b.name = renamedTo(old, u.name, n.name)
		delete(u.account.boxes, b.uniqueid)
		n.account.boxes[b.uniqueid] = b
		if !byRename {
			continue
		}
		err := h.connection().s.ApplyRename(w.t.Context(), cyrus.Rename{Old: old, New: b.name, Partition: "default", UIDValidity: b.validity})
		w.note("rename of %s to %s at %s: %v", old, b.name, h.name, err)
		if err != nil && !h.dead.Load() && !w.excused(u, h, err) && !w.excused(n, h, err) {
			return fmt.Errorf("rename of %s to %s: unexpected error: %w", old, b.name, err)
		}
	}
	h.connection().s.Restart(w.t.Context())
	w.users = append(w.users, n)
	w.inherits(n.path(), u.path())
	if err := w.restartKilled(); err != nil {
		return err
	}
	if err := w.sync(n); err != nil {
		return err
	}
	u.lied = u.lied || n.lied // the same host has ended the mailboxes in the old backup
	return w.sync(u)          // the user has no data any more, and is deleted after the sync
}
