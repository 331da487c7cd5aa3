package partitions_test

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Old mail arrives again while its pack waits for its removal: somebody forwards it, or an administrator
// restores it on the mail server. A writer that does not read condemned.json refers to such a pack.

// oldMailEvents are the events of old mail.
var oldMailEvents = []soakEvent{
	{6, "old mail arrives", false, func(w *soak) error { return w.oldMail(w.rng.IntN(len(w.parts)), "", pick(w, w.hosts)) }},
}

// beforeRemoval lets old mail arrive when collection is about to delete a pack that has it, after the
// second count, and once in a night.
func (w *soak) beforeRemoval(t *soakTool, part int) {
	if t.noTrip || t.awaits[part] {
		return
	}
	t.awaits[part] = true
	t.nets[part].Add(faultstore.Fault{
		Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "packs/") },
		Count: 1,
		Call: func(_, key string) {
			w.counts["removals with old mail"]++
			for _, h := range w.hosts { // one of them may not know yet that retention has dropped the mail
				w.between(w.oldMail(part, key, h))
			}
		},
	})
}

// oldMail delivers mail of condemned packs, or of one of them, to a user in their partition.
func (w *soak) oldMail(part int, pack string, h *soakHost) error {
	bodies := w.condemnedMail(w.parts[part], pack)
	var users []*soakUser
	for _, u := range w.users {
		if w.home(u) == part && !w.sick(u) && len(u.account.boxes) > 0 {
			users = append(users, u)
		}
	}
	if len(bodies) == 0 || len(users) == 0 {
		return nil
	}
	u := pick(w, users)
	b := pick(w, u.sorted())
	for range 1 + w.rng.IntN(3) {
		b.deliver(pick(w, bodies))
	}
	w.note("%s: mail of a condemned pack arrives in %s", u.name, b.name)
	w.counts["mail of condemned packs"]++
	return w.syncWith(u, h)
}

// condemnedMail returns the messages in the condemned packs of a partition, or in one of them: if possible
// messages that no mailbox has, and that hosts have put into packs, so that their indexes know the pack.
func (w *soak) condemnedMail(p *soakPart, pack string) [][]byte {
	list, _, err := history.ReadCondemned(w.t.Context(), p.store)
	all, serr := w.search(p)
	if err != nil || serr != nil {
		return nil
	}
	in := map[string]bool{}
	for _, c := range list.Packs {
		if pack != "" && c.Key != pack || all[c.Key] == nil {
			continue
		}
		for _, g := range all[c.Key].needles {
			in[g] = true
		}
	}
	var live, dead [][]byte
	has := w.liveMail()
	for _, b := range w.mail {
		switch g := fmt.Sprintf("%x", sha1.Sum(b)); {
		case in[g] && has[g]:
			live = append(live, b)
		case in[g]:
			dead = append(dead, b)
		}
	}
	if large := slices.DeleteFunc(slices.Clone(dead), func(b []byte) bool { return len(b) <= soakInline }); len(large) > 0 {
		return large
	}
	if len(dead) > 0 {
		return dead
	}
	return live
}

// liveMail returns the GUIDs of the messages in all mailboxes.
func (w *soak) liveMail() map[string]bool {
	live := map[string]bool{}
	for _, u := range w.users {
		for _, b := range u.account.boxes {
			for _, r := range b.records {
				live[r.GUID.String()] = true
			}
		}
	}
	return live
}
