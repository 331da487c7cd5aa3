package partitions_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// illness is damage to a bucket that is not healed yet.
type illness struct {
	what   string
	users  map[*soakUser]bool // the affected users
	packs  bool               // packs are damaged: other users may refer to their messages
	hidden bool               // the bytes of a pack are wrong: a new reference does not reveal this
	older  bool               // the bucket has an older state, and nothing in it shows this
	closed *soakPart          // the bucket with a damaged repository.json
	admin  []func()           // restores objects as an administrator would
}

// sick reports whether damage affects the user.
func (w *soak) sick(u *soakUser) bool { return w.ill != nil && w.ill.users[u] }

// Events of the content of a bucket.
var bucketEvents = []soakEvent{
	{3, "bucket rolled back", true, func(w *soak) error { return w.rollback(func(*soakPart) string { return "" }) }},
	{2, "packs rolled back", true, func(w *soak) error { return w.rollback(func(*soakPart) string { return "packs/" }) }},
	{2, "backup rolled back", true, func(w *soak) error {
		return w.rollback(func(p *soakPart) string { return w.someBackup(p) })
	}},
	{3, "pack damaged", true, damaged("packs/", nil)},
	{3, "commit damaged", true, damaged("backups/", isCommit)},
	{2, "checkpoint damaged", true, damaged("backups/", func(key string) bool { return strings.Contains(key, "/checkpoints/") })},
	{2, "records damaged", true, damaged("backups/", func(key string) bool { return strings.Contains(key, "/records/") })},
	{1, "backup.json damaged", true, damaged("backups/", func(key string) bool { return strings.HasSuffix(key, "/backup.json") })},
	{1, "repository.json damaged", true, damaged("repository.json", nil)},
}

// leftIn returns the prefixes of the copies that moves have left in a partition. Nothing reads them.
func (w *soak) leftIn(p *soakPart) (out []string) {
	for _, u := range w.users {
		if at := w.home(u); at >= 0 && w.parts[at] != p {
			out = append(out, "backups/"+u.path()+"/")
		}
	}
	return out
}

func isCommit(key string) bool { return strings.Contains(key, "/log/") }

// snapshot saves the content of the buckets for a rollback.
func (w *soak) snapshot() {
	if w.ill != nil {
		return // a rollback to this snapshot would add a second kind of damage
	}
	for _, p := range w.parts {
		p.past = append(p.past, p.store.Snapshot())
		if len(p.past) > 4 {
			i := w.rng.IntN(len(p.past) - 1)
			p.past = slices.Delete(p.past, i, i+1)
		}
	}
}

// someBackup returns the prefix of a backup in a partition.
func (w *soak) someBackup(p *soakPart) string {
	var paths []string
	for _, u := range w.users {
		if w.parts[max(w.home(u), 0)] == p {
			paths = append(paths, "backups/"+u.path()+"/")
		}
	}
	if len(paths) == 0 {
		return "backups/"
	}
	return pick(w, paths)
}

// rollback restores a bucket, or a part of it, to an older copy. That takes a while.
func (w *soak) rollback(prefix func(*soakPart) string) error {
	if w.ill != nil {
		return nil
	}
	// In an older copy of a bucket, mailboxes can be live that the source has forgotten: no
	// client ever removes them (client-behaviour.md 10.1). An administrator does.
	w.rolled = true
	w.deliver() // no put is under way while a bucket is rolled back
	p := pick(w, w.parts)
	to, pre, keep := pick(w, p.past), prefix(p), w.one(4)
	w.clock.advance(11*time.Minute + second(w.rng.IntN(3600)))
	w.note("rollback of %s, keys below %q; newer objects are kept: %v", p.name, pre, keep)
	before := p.store.Snapshot()
	homes := w.homes()
	p.store.Rollback(to, pre, keep)
	w.removeTwins(p)
	w.forgetHomes()
	return w.fallIll(&illness{what: "rollback of " + p.name, older: true, packs: pre == "" || pre == "packs/"}, p, before, homes)
}

// removeTwins removes the backups that a rollback has put in a second partition, as hosts ask an
// administrator to do. Their users were first seen after the time of the older copy.
func (w *soak) removeTwins(p *soakPart) {
	for _, u := range w.users {
		for _, other := range w.parts {
			prefix := "backups/" + u.path() + "/"
			if other == p || u.moved > 0 || len(other.store.Keys(prefix)) == 0 {
				continue
			}
			for _, key := range p.store.Keys(prefix) {
				p.store.Lose(key)
			}
		}
	}
}

// forgetHomes makes every host forget its users: a host that detects a rollback no longer knows
// where they are.
func (w *soak) forgetHomes() {
	for _, h := range w.hosts {
		h.shaken, h.stale = true, true
		clear(h.knows)
	}
}

func (w *soak) homes() map[*soakUser]int {
	out := map[*soakUser]int{}
	for _, u := range w.users {
		out[u] = w.home(u)
	}
	return out
}

// damaged returns an event that damages one of the objects below a prefix.
func damaged(prefix string, match func(string) bool) func(*soak) error {
	return func(w *soak) error {
		if w.ill != nil {
			return nil
		}
		p := pick(w, w.parts)
		keys := w.byAge(p, prefix)
		left := w.leftIn(p)
		keys = slices.DeleteFunc(keys, func(k string) bool {
			return match != nil && !match(k) || slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(k, l) })
		})
		if len(keys) == 0 {
			return nil
		}
		before, homes := p.store.Snapshot(), w.homes()
		key := pick(w, keys)
		if w.one(3) {
			key = keys[len(keys)-1-w.rng.IntN(min(3, len(keys)))] // one of the newest
		}
		i := &illness{older: w.newest(p, key), packs: prefix == "packs/", hidden: prefix == "packs/"}
		i.what = w.injure(p, key, keys)
		for _, k := range p.store.Changed(before) {
			if k == "repository.json" {
				i.closed = p
			}
			if k == "repository.json" || strings.HasSuffix(k, "/backup.json") || p.irreplaceable(k) {
				i.admin = append(i.admin, p.restorer(before, k))
			}
		}
		w.note("%s: %s", p.name, i.what)
		w.clock.advance(second(w.rng.IntN(1800)))
		return w.fallIll(i, p, before, homes)
	}
}

// restorer returns what an administrator does about a damaged object, unless retention has removed or
// replaced it meanwhile: then the former one names blocks that are gone.
func (p *soakPart) restorer(before memstore.Snapshot, key string) func() {
	damaged := p.store.Snapshot()
	return func() {
		if !slices.Contains(p.store.Changed(damaged), key) {
			p.store.Rollback(before, key, true)
		}
	}
}

// byAge returns keys in the order of their time. The names of packs and blocks are random: in the order of
// their names, each run of a seed would pick other ones.
func (w *soak) byAge(p *soakPart, prefix string) (keys []string) {
	var list []objstore.Info
	for info, err := range p.store.List(w.t.Context(), prefix, "") {
		if err == nil {
			list = append(list, info)
		}
	}
	slices.SortStableFunc(list, func(a, b objstore.Info) int {
		return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(a.Size, b.Size))
	})
	for _, info := range list {
		keys = append(keys, info.Key)
	}
	return keys
}

// irreplaceable reports whether the log cannot replace an object, because retention has removed
// the beginning of the log.
func (p *soakPart) irreplaceable(key string) bool {
	dir, _, ok := strings.Cut(key, "/checkpoints/")
	if !ok {
		dir, _, ok = strings.Cut(key, "/records/")
	}
	path, first := strings.TrimPrefix(dir, "backups/"), uint64(1)
	in := map[uint64]bool{}
	for _, k := range p.store.Keys(dir + "/log/") {
		from, to, is := history.ParseLogKey(path, k)
		for n := from; is && n <= to; n++ {
			in[n] = true
			first = max(first, n)
		}
	}
	for in[first-1] { // a late put can leave a commit before the beginning
		first--
	}
	return ok && first > 1
}

// newest reports whether the key is the last commit of its log. If that commit is lost, nothing
// shows that it existed.
func (w *soak) newest(p *soakPart, key string) bool {
	dir, _, ok := strings.Cut(key, "/log/")
	if !ok {
		return false
	}
	keys := p.store.Keys(dir + "/log/")
	return slices.Max(keys) == key
}

// injure damages an object, and describes how.
func (w *soak) injure(p *soakPart, key string, others []string) string {
	other := pick(w, others)
	size := len(p.store.Bytes(key))
	switch w.rng.IntN(5) {
	case 0:
		p.store.Lose(key)
		return key + " is lost"
	case 1:
		at := w.rng.IntN(max(size, 1))
		p.store.Flip(key, at)
		return fmt.Sprintf("a bit of byte %d of %s flips", at, key)
	case 2:
		n := w.rng.IntN(max(size, 1))
		p.store.Truncate(key, n)
		return fmt.Sprintf("%s is cut from %d to %d bytes", key, size, n)
	case 3:
		if other == key {
			p.store.Flip(key, size/2)
			return fmt.Sprintf("a bit in the middle of %s flips", key)
		}
		p.store.Swap(key, other)
		return key + " and " + other + " are swapped"
	default:
		to := other
		if n, ok := w.after(p, key); ok && w.one(2) {
			to = n
		}
		p.store.Copy(key, to)
		return key + " is copied to " + to
	}
}

// after returns the key of the next commit in the key's log.
func (w *soak) after(p *soakPart, key string) (string, bool) {
	dir, _, ok := strings.Cut(strings.TrimPrefix(key, "backups/"), "/log/")
	if !ok {
		return "", false
	}
	var top uint64
	for _, k := range p.store.Keys(history.LogPrefix(dir)) {
		if _, to, ok := history.ParseLogKey(dir, k); ok {
			top = max(top, to)
		}
	}
	return history.LogKey(dir, top+1), true
}

// fallIll finds the affected users: those with changed objects, and those for whom verify reports
// damage. verify must report what a user has lost.
func (w *soak) fallIll(i *illness, p *soakPart, before memstore.Snapshot, homes map[*soakUser]int) error {
	i.users = map[*soakUser]bool{}
	p.lacks = p.lacks || i.packs
	w.ill = i
	w.hurt++
	changed := p.store.Changed(before)
	// No client repeats the end of a mailbox that it has forgotten (client-behaviour.md 10.1).
	w.undone = w.undone || slices.ContainsFunc(changed, isCommit)
	for _, u := range w.users {
		if at := homes[u]; at < 0 || w.parts[at] != p {
			continue
		}
		mine := slices.ContainsFunc(changed, func(k string) bool { return strings.HasPrefix(k, "backups/"+u.path()+"/") })
		all := slices.Contains(changed, "repository.json")
		if mine || all || w.looksDamaged(u) {
			i.users[u] = true
			u.past = nil
			w.note("damage affects %s", u.name)
			if err := w.checkAdmitted(u); err != nil {
				return err
			}
			continue
		}
		if i.packs {
			u.past = nil // verify looks for messages of the newest state
		}
		if len(u.acked) == 0 {
			continue
		}
		if err := w.differs(u); err != nil {
			return fmt.Errorf("%s: verify does not report what %s has lost: %w", i.what, u.name, err)
		}
	}
	return nil
}

func (w *soak) looksDamaged(u *soakUser) bool {
	problems, err := w.verify(u)
	return err != nil || len(problems) > 0
}

// heal ends all trouble and makes everything whole: by the next syncs of the source, and if
// verify still reports damage, by a repair and another sync.
func (w *soak) heal() error {
	w.calm()
	if err := w.restartKilled(); err != nil {
		return err
	}
	ill := w.ill
	if ill != nil {
		w.note("healing of: %s", ill.what)
		for _, put := range ill.admin {
			put()
		}
	}
	for _, u := range slices.Clone(w.users) {
		if !w.sick(u) {
			if err := w.syncPatiently(u); err != nil {
				return err
			}
			w.infect(u)
		}
		if w.sick(u) {
			if err := w.healUser(u); err != nil {
				return fmt.Errorf("healing of %s after %s: %w", u.name, w.ill.what, err)
			}
			continue
		}
		if problems, err := w.verify(u); err != nil || len(problems) > 0 {
			return fmt.Errorf("verify %s, who is not affected by damage: %w, %q", u.name, err, problems)
		}
	}
	if ill != nil && ill.older {
		w.forgetHomes()
	}
	// What no backup referred to is still damaged, and the next user may refer to it.
	w.rotten = w.rotten || ill != nil && ill.hidden
	w.ill = nil
	return nil
}

// healUser makes a user's backup equal to the source again. Now and then a host reads the damage with a new index: one that has
// an index needs nothing of the log.
func (w *soak) healUser(u *soakUser) error {
	if w.one(4) {
		w.note("damage is read with a new index")
		if err := pick(w, w.hosts).loseIndex(); err != nil {
			return err
		}
	}
	if err := w.syncPatiently(u); err != nil {
		return err
	}
	if w.looksDamaged(u) {
		if err := w.repair(u); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		if err := w.syncPatiently(u); err != nil {
			return fmt.Errorf("after the repair: %w", err)
		}
	}
	if problems, err := w.verify(u); err != nil || len(problems) > 0 {
		return fmt.Errorf("verify: %w, %q; there are %q", err, problems, w.keys(u))
	}
	delete(w.ill.users, u)
	w.harmed[u.path()] = true
	for _, h := range w.hosts {
		if err := w.syncWith(u, h); err != nil {
			return err
		}
	}
	return nil
}

// keys returns the keys of a user's backup.
func (w *soak) keys(u *soakUser) []string {
	at := w.home(u)
	if at < 0 {
		return nil
	}
	return w.parts[at].store.Keys("backups/" + u.path() + "/")
}

// syncPatiently syncs as cron does: repeatedly, and with both hosts in turn.
func (w *soak) syncPatiently(u *soakUser) error {
	for i := range 12 {
		if err := w.syncWith(u, w.hosts[i%2]); err != nil || u.all {
			return err
		}
		w.clock.advance(11 * time.Minute)
	}
	return fmt.Errorf("%s is refused forever", u.name)
}

// repair runs `ctl_backups verify --repair`.
func (w *soak) repair(u *soakUser) error {
	w.note("repair of %s", u.name)
	if w.home(u) >= 0 && len(w.parts[w.home(u)].store.Keys(repository.UpkeepKey(u.path()))) > 0 {
		w.clock.advance(3 * time.Minute) // the lease of a compactor that was killed
	}
	return w.repairWith(u, w.configs())
}

// repairWith repairs a backup, and copies lost messages from all of the partitions.
func (w *soak) repairWith(u *soakUser, all []repository.Config) error {
	at := w.home(u)
	if at < 0 {
		return nil
	}
	w.counts["repairs"]++
	f, err := repository.FindPath(w.t.Context(), all[at], u.path())
	if err != nil {
		return err
	}
	_, err = verify.Repair(w.t.Context(), f, verify.RepairOptions{
		Lock:   repository.LockOptions{Owner: "soak", Host: "tool", Now: w.clock.now},
		Others: all, PackSize: 16 << 10,
		Problem: func(p verify.Problem) { w.note("  found: %s", p) },
		Report:  func(r verify.Change) { w.note("  %s", r) },
	})
	return err
}
