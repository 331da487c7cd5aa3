package collection_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

var (
	modelSeeds = flag.Uint64("model.seeds", 0, "how many `seeds` TestModel tries; 0: four, or two if time is short")
	modelSteps = flag.Int("model.steps", 150, "`steps` for each seed")
)

// model is a partition that random users, writers, retention and collectors work on. Writers
// keep the rules of package partitions: they do not refer to condemned packs, and prove their
// packs again if their commit is late.
type model struct {
	*world
	rnd    *rand.Rand
	users  []string
	caches []string
	next   int                 // number of the next message
	where  map[int]string      // the writers' index: a pack of each message, which may be gone
	live   map[string][]int    // messages of each user
	late   map[string][]moment // commits that no client got an OK for, by user
	asleep []writer
	log    []string

	rewritten int // packs
}

// moment is a range of commits. A message may be unreadable there.
type moment struct {
	chunk    history.ChunkID
	from, to uint64
}

// writer is a writer between its checks and its commit.
type writer struct {
	user, pack string
	n          int
	checked    time.Time
	copies     bool   // it copies a backup from another partition, whose places name the pack
	relied     string // the pack in this partition that a copy relies on
}

// TestModel checks after each step that every message of every moment that can be loaded is
// readable, and at the end that all other packs are gone.
func TestModel(t *testing.T) {
	rewritten, seeds := 0, *modelSeeds
	if seeds == 0 {
		seeds = 4
		if short() {
			seeds = 2
		}
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{world: newWorld(t), rnd: rand.New(rand.NewPCG(seed, 1)), users: []string{"anne", "bert", "carl"},
				caches: []string{t.TempDir(), t.TempDir(), ""}, next: 1, where: map[int]string{}, live: map[string][]int{}, late: map[string][]moment{}}
			for _, u := range m.users {
				m.commit(u, nil)
			}
			for step := range *modelSteps {
				if m.step() {
					m.verify(step)
				}
				if t.Failed() {
					for _, l := range m.log {
						t.Log(l)
					}
					return
				}
			}
			m.end()
			rewritten += m.rewritten
		})
	}
	if rewritten == 0 {
		t.Error("no pack was rewritten")
	}
	t.Logf("%d packs were rewritten", rewritten)
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, m.now.Format(time.RFC3339)+" "+fmt.Sprintf(format, args...))
}

func (m *model) user() string { return m.users[m.rnd.IntN(len(m.users))] }

// step reports whether it may have made something unreadable.
func (m *model) step() bool {
	switch m.rnd.IntN(14) {
	case 0, 1:
		m.deliver()
	case 2, 3:
		m.begin(false)
	case 4:
		m.wake()
		return true
	case 5:
		m.expunge()
	case 6:
		u := m.user()
		m.note("retention of %s", u)
		m.keep(u)
	case 7:
		u := m.user()
		m.note("checkpoint %d of %s", m.checkpoint(u), u)
	case 8, 9:
		m.pass()
		return true
	case 10:
		m.condemnSome()
	case 11:
		m.beginCopy()
	default:
		d := []time.Duration{time.Minute, hour / 2, 5 * hour, 25 * hour, 3 * day, 8 * day}[m.rnd.IntN(6)]
		m.note("%s pass", d)
		m.later(d)
	}
	return false
}

// deliver commits a new message, inline or in a pack with some that nobody needs.
func (m *model) deliver() {
	u, n := m.user(), m.next
	m.next += 2
	key := ""
	if m.rnd.IntN(4) > 0 {
		key = m.pack(n, n+1)
		m.where[n], m.where[n+1] = key, key
	}
	m.note("%s gets message %d in %q", u, n, key)
	m.commit(u, map[int]string{n: key})
	m.live[u] = append(m.live[u], n)
}

// begin is a writer that finds a message in a pack, or puts a pack, and checks it. unlucky
// means that it looks for a message in a condemned pack, if there is one.
func (m *model) begin(unlucky bool) {
	w := writer{user: m.user(), checked: m.now}
	known := slices.Sorted(mapsKeys(m.where))
	if dead := slices.DeleteFunc(slices.Clone(known), func(n int) bool { return !m.condemned(m.where[n]) }); unlucky && len(dead) > 0 {
		known = dead
	}
	if len(known) > 0 && m.rnd.IntN(3) > 0 {
		w.n = known[m.rnd.IntN(len(known))]
		w.pack = m.current(w.n)
		if m.condemned(w.pack) || !m.has(w.pack) {
			delete(m.where, w.n) // the client is asked for it
			return
		}
	} else {
		w.n = m.next
		m.next++
		w.pack = m.pack(w.n)
	}
	m.note("writer of %s has checked message %d in %s", w.user, w.n, w.pack)
	if m.rnd.IntN(2) > 0 {
		m.finish(w)
		return
	}
	m.asleep = append(m.asleep, w)
}

// current returns the pack of a message, which a note names if it was rewritten.
func (m *model) current(n int) string {
	if !m.has(m.where[n]) {
		note, _, err := history.ReadMoved(m.t.Context(), m.mem, m.where[n])
		if err != nil {
			m.t.Fatal(err)
		}
		m.where[n] = note.Entries[place(n, "").Entry]
	}
	return m.where[n]
}

// condemnSome puts packs on the list, used or not, as an erasure does.
func (m *model) condemnSome() {
	packs := m.packs()
	if len(packs) == 0 {
		return
	}
	key := packs[m.rnd.IntN(len(packs))]
	m.note("%s is condemned", key)
	m.condemn(key)
}

// beginCopy begins to copy a backup with a message from another partition. Its places name a pack
// that is or was in this one, too.
func (m *model) beginCopy() {
	known := slices.Sorted(mapsKeys(m.where))
	if len(known) == 0 {
		return
	}
	w := writer{user: m.user(), n: known[m.rnd.IntN(len(known))], copies: true}
	w.pack = m.where[w.n]
	m.copyBody(&w)
	m.asleep = append(m.asleep, w)
}

// copyBody copies the message, unless this partition will keep it.
func (m *model) copyBody(w *writer) {
	w.checked, w.relied = m.now, w.pack
	if m.has(w.pack) && !m.condemned(w.pack) {
		return
	}
	if note, _, err := history.ReadMoved(m.t.Context(), m.mem, w.pack); err == nil {
		if w.relied = note.Entries[place(w.n, "").Entry]; m.has(w.relied) && !m.condemned(w.relied) {
			return
		}
	}
	w.relied = ""
	m.noteMoved(w.pack, m.pack(w.n), w.n)
	m.note("the copy of message %d in %s is copied", w.n, w.pack)
}

func (m *model) wake() {
	if len(m.asleep) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.asleep))
	w := m.asleep[i]
	m.asleep = slices.Delete(m.asleep, i, i+1)
	m.finish(w)
}

// finish commits, and proves the pack again if that was late.
func (m *model) finish(w writer) {
	for w.copies && (m.now.Sub(w.checked) > 3*hour || m.condemned(w.relied)) {
		m.copyBody(&w)
	}
	m.note("writer of %s commits message %d in %s", w.user, w.n, w.pack)
	m.commit(w.user, map[int]string{w.n: w.pack})
	m.live[w.user] = append(m.live[w.user], w.n)
	if w.copies || m.now.Sub(w.checked) <= hour {
		return
	}
	if !m.condemned(w.pack) && m.has(w.pack) {
		m.where[w.n] = w.pack
		return
	}
	// No OK: the client sends the message again.
	from := m.newest(w.user)
	again := m.pack(w.n)
	m.commit(w.user, map[int]string{w.n: again})
	m.late[w.user] = append(m.late[w.user], moment{message(w.n).Chunks[0], from, m.newest(w.user) - 1})
	m.where[w.n] = again
	m.note("it was late: again in %s", again)
}

func (m *model) newest(user string) uint64 {
	n, err := m.found(user).HighestNumber(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m *model) expunge() {
	u := m.user()
	if len(m.live[u]) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.live[u]))
	n := m.live[u][i]
	m.live[u] = slices.DeleteFunc(m.live[u], func(l int) bool { return l == n })
	m.note("%s deletes message %d", u, n)
	m.commit(u, nil, expunge(n))
}

// keep is retention that keeps some checkpoints.
func (m *model) keep(u string) {
	m.later(time.Minute)
	m.commit(u, nil, &history.PruneEvent{Before: m.now.Add(time.Second)})
	n := m.checkpoint(u)
	m.commit(u, nil, &history.RetainedEvent{From: 1, To: n})
	path := m.found(u).Path
	for _, key := range m.mem.Keys(repository.BackupPrefix(path)) {
		_, to, log := history.ParseLogKey(path, key)
		at, checkpoint := history.ParseCheckpointKey(path, key)
		if log && to <= n && !m.holdsBodies(path, key) || checkpoint && at < n && m.rnd.IntN(2) > 0 {
			m.mem.Lose(key)
		}
	}
}

// holdsBodies reports whether a commit has inline bodies.
func (m *model) holdsBodies(path, key string) bool {
	for p, err := range history.LogPlaces(m.t.Context(), m.mem, key) {
		if err != nil {
			m.t.Fatal(err)
		}
		if p.Object == key {
			return true
		}
	}
	return false
}

func (m *model) pass() {
	m.cache = m.caches[m.rnd.IntN(len(m.caches))]
	m.note("pass")
	f := faultstore.New(m.mem)
	m.store = f
	f.Add(faultstore.Fault{Skip: m.rnd.IntN(60), Count: 1, Call: func(string, string) { // in the middle of the pass
		m.begin(true)
		m.wake()
	}})
	o := m.options()
	o.RewriteGain = int64(m.rnd.IntN(2)) // 0: none of these packs is large enough
	if m.rnd.IntN(2) == 0 {
		m.note("it erases")
		o.Erase = packsOf(slices.DeleteFunc(m.packs(), func(key string) bool { return !m.condemned(key) })...)
	}
	r, err := collection.Collect(m.t.Context(), m.config(), o)
	if err != nil || r.Blocking > 0 {
		m.t.Fatal(r.Blocked, err)
	}
	m.store = m.mem
	m.rewritten += r.Rewritten.Packs
	m.note("%d packs condemned, %d removed, %d rewritten", r.Condemning.Packs, r.Removed.Packs, r.Rewritten.Packs)
}

// moments returns the numbers of the commits and checkpoints of a backup.
func (m *model) moments(user string) (numbers []uint64) {
	path := m.found(user).Path
	for _, key := range m.mem.Keys(repository.BackupPrefix(path)) {
		if _, n, ok := history.ParseLogKey(path, key); ok {
			numbers = append(numbers, n)
		}
		if n, ok := history.ParseCheckpointKey(path, key); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// verify reads every message of every moment.
func (m *model) verify(step int) {
	objects := history.NewObjects(m.mem, 0)
	for _, u := range m.users {
		for _, n := range m.moments(u) {
			st, err := m.found(u).Load(m.t.Context(), history.Moment{Number: n})
			if err != nil {
				continue // retention has removed it
			}
			for msg, err := range st.Messages() {
				if err != nil {
					m.t.Fatal(err)
				}
				c := msg.Chunks[0]
				if slices.ContainsFunc(m.late[u], func(l moment) bool { return l.chunk == c && l.from <= n && n <= l.to }) {
					continue
				}
				if err := m.readable(objects, st, c); err != nil {
					m.t.Errorf("step %d: %s at commit %d: %v", step, u, n, err)
				}
			}
			if err := st.Close(); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}

// end lets all grace periods pass: the packs that are left are those that are named.
func (m *model) end() {
	m.later(9 * day)
	m.collectFor(4)
	named := m.named()
	for _, key := range m.packs() {
		if !named[key] {
			m.t.Errorf("%s is unused and still there", key)
		}
	}
	m.verify(*modelSteps)
}

// named returns the packs that a backup names, and those that notes about them name.
func (m *model) named() map[string]bool {
	named := map[string]bool{}
	for _, u := range m.users {
		prefix := repository.BackupPrefix(m.found(u).Path)
		for _, dir := range []string{"log/", "records/"} {
			for _, key := range m.mem.Keys(prefix + dir) {
				for p, err := range history.ObjectPlaces(m.t.Context(), m.mem, key) {
					if err != nil {
						m.t.Fatal(err)
					}
					named[p.Object] = true
					if note, _, err := history.ReadMoved(m.t.Context(), m.mem, p.Object); err == nil {
						for _, key := range note.Entries {
							named[key] = true
						}
					}
				}
			}
		}
	}
	return named
}
