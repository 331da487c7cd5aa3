package partitions_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// actions returns all that can happen between two comparisons, by name.
func (w *model) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){}
	for _, part := range []map[string]func(*rapid.T){w.mailActions(), w.mailboxActions(), w.accountActions(), w.hostActions()} {
		maps.Copy(all, part)
	}
	return all
}

// mailActions change the messages of a mailbox.
func (w *model) mailActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"deliver": func(t *rapid.T) {
			_, b := w.box(t)
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				b.deliver(mail(w.next(), rapid.SampledFrom([]int{0, 300, 5000}).Draw(t, "size")))
			}
		},
		"deliver a known message": func(t *rapid.T) {
			_, b := w.box(t)
			_, from := w.box(t)
			if len(from.records) > 0 {
				if body, ok := from.bodies[from.records[0].GUID]; ok {
					b.deliver(body)
				}
			}
		},
		"flag": func(t *rapid.T) {
			_, b := w.box(t)
			if live := b.live(); len(live) > 0 {
				b.flag(rapid.SampledFrom(live).Draw(t, "record"), `\Seen`, "$x")
			}
		},
		"expunge": func(t *rapid.T) {
			_, b := w.box(t)
			if live := b.live(); len(live) > 0 {
				b.flag(rapid.SampledFrom(live).Draw(t, "record"), `\Deleted`, `\Expunged`)
			}
		},
		"clean up": func(t *rapid.T) {
			_, b := w.box(t)
			for _, r := range b.records {
				if r.Expunged() {
					b.deletedModSeq = max(b.deletedModSeq, r.ModSeq)
				}
			}
			b.records = b.live()
		},
	}
}

// mailboxActions create, rename, and delete mailboxes.
func (w *model) mailboxActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": func(t *rapid.T) {
			u := w.user(t)
			b := w.newBox(u)
			b.deliver(mail(w.next(), 300))
			w.users[u].boxes[b.uniqueid] = b
		},
		"rename": func(t *rapid.T) {
			u, b := w.folder(t)
			b.name = fmt.Sprintf("user.%s.Box%d", u, w.next())
		},
		"swap names": func(t *rapid.T) {
			u, b := w.folder(t)
			for _, o := range w.users[u].boxes {
				if o.uniqueid > b.uniqueid && !cyrus.IsInbox(o.name) {
					b.name, o.name = o.name, b.name
					break
				}
			}
		},
		"delete": func(t *rapid.T) {
			u, b := w.folder(t)
			delete(w.users[u].boxes, b.uniqueid)
		},
		"recreate": func(t *rapid.T) {
			u, b := w.box(t)
			delete(w.users[u].boxes, b.uniqueid)
			n := w.newBox(u)
			n.name = b.name
			n.deliver(mail(w.next(), 300))
			w.users[u].boxes[n.uniqueid] = n
		},
		"restore": w.restore,
	}
}

// accountActions change what belongs to a user, and synchronise.
func (w *model) accountActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"sub":   func(t *rapid.T) { u, b := w.box(t); w.users[u].subs[b.name] = !w.users[u].subs[b.name] },
		"quota": func(t *rapid.T) { w.users[w.user(t)].quota = uint64(w.next()) },
		"seen":  func(t *rapid.T) { w.users[w.user(t)].seen = fmt.Sprint("1:", w.next()) },
		"sieve": func(t *rapid.T) { w.users[w.user(t)].sieve = fmt.Sprintf("keep; # %d", w.next()) },
		"rename the user": func(t *rapid.T) {
			w.renameUser(t, rapid.Bool().Draw(t, "by RENAME"))
		},
		"another person": func(t *rapid.T) {
			u := w.user(t)
			if w.users[u] = w.users[u].nextPerson(u, w.next); !w.users[u].person {
				w.sync(t, u) // so that the backup has an INBOX to compare the next one with
			}
		},
		"sync": func(t *rapid.T) { w.sync(t, w.user(t)) },
	}
}

// hostActions trouble the backup hosts and their stores.
func (w *model) hostActions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"new connection": func(t *rapid.T) {
			w.hangUp(rapid.IntRange(0, 1).Draw(t, "host"))
		},
		"index is lost": func(t *rapid.T) {
			i := rapid.IntRange(0, 1).Draw(t, "host")
			w.hangUp(i)
			w.hosts[i].removeIndex()
		},
		"store fault": func(t *rapid.T) {
			f, _ := fault(rapid.IntRange(1, 12).Draw(t, "call"), rapid.IntRange(1, 3).Draw(t, "calls"), rapid.SampledFrom([]error{memstore.ErrInjected, errDenied}).Draw(t, "error"))
			s := w.stores[rapid.IntRange(0, 1).Draw(t, "store")]
			if rapid.Bool().Draw(t, "answers lost") {
				s.SetFaults(nil, f)
			} else {
				s.SetFaults(f, nil)
			}
		},
	}
}

// restore returns a mailbox of the source to an earlier state that was synced.
func (w *model) restore(t *rapid.T) {
	u, b := w.box(t)
	var former []*source
	for _, p := range w.past {
		for _, o := range p.boxes {
			if o.uniqueid == b.uniqueid && o.modseq < b.modseq {
				former = append(former, o)
			}
		}
	}
	if len(former) == 0 {
		t.Skip("no older state")
	}
	old := rapid.SampledFrom(former).Draw(t, "state").clone()
	old.name = b.name
	w.users[u].boxes[b.uniqueid] = old
	// Sync before the mailbox reaches its former modseq again. A mailbox without live
	// records has the CRC 0, which matches every CRC, so the server would not notice later.
	w.sync(t, u)
}

// nextPerson returns the account of another person with the same name, after this one was
// deleted. The source has forgotten the former mailboxes (delete_mode: immediate, since 3.12).
// An account without INBOX gets an INBOX and stays the same person.
func (a *account) nextPerson(user string, next func() int) *account {
	inbox := newSource("user." + user)
	inbox.uniqueid = fmt.Sprintf("unique%06d", next())
	inbox.deliver(mail(next(), 300))
	had := func(b *source) bool { return b.name == inbox.name }
	if !slices.ContainsFunc(slices.Collect(maps.Values(a.boxes)), had) {
		a.boxes[inbox.uniqueid] = inbox
		return a
	}
	b := newAccount()
	b.person, b.forgotten = true, maps.Clone(a.forgotten)
	if b.forgotten == nil {
		b.forgotten = map[string]bool{}
	}
	for id := range a.boxes {
		b.forgotten[id] = true
	}
	b.boxes[inbox.uniqueid] = inbox
	return b
}

// renameUser renames a user. Without byRename, the server has to find out by itself.
func (w *model) renameUser(t *rapid.T, byRename bool) {
	u := w.user(t)
	n := fmt.Sprintf("u%d", w.next())
	a := w.users[u]
	b := newAccount()
	b.quota, b.seen, b.sieve = a.quota, a.seen, a.sieve
	w.sync(t, u) // so that the server knows the mailboxes before the rename
	c := w.connect(t)
	for id, box := range a.boxes {
		old := box.name
		box.name = renamedTo(box.name, u, n)
		b.boxes[id] = box
		if byRename {
			err := c.s.ApplyRename(w.t.Context(), cyrus.Rename{Old: old, New: box.name, Partition: "default", UIDValidity: box.validity})
			if err != nil && !acceptable(err) {
				t.Fatalf("rename %s to %s: %v", old, box.name, err)
			}
		}
	}
	w.users[n] = b
	w.users[u] = newAccount() // the old name is empty
	w.sync(t, n)
	w.sync(t, u)
}

// renamedTo is the name of a mailbox after its user was renamed.
func renamedTo(name, old, user string) string {
	if rest, ok := strings.CutPrefix(name, "user."+old); ok && (rest == "" || rest[0] == '.') {
		return "user." + user + rest
	}
	return name
}
