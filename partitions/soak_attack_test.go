package partitions_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Tools that a person runs for one backup: they can be interrupted like compact, and then a person runs
// them again. Meanwhile the mail server sends mail.

// toolEvents are the events of these tools.
var toolEvents = []soakEvent{
	{4, "move", true, (*soak).move},
	{2, "set aside", true, (*soak).setAside},
	{3, "erase", true, (*soak).erase},
	{4, "erase of a message", true, (*soak).eraseMessage},
	{3, "repair", true, (*soak).repairSome},
	{3, "export", true, (*soak).export},
}

// attacks are the faults of a night that tools go through as well. Late puts do not arrive days later, and
// moves rely on leases.
func attacks() (out []nightFault) {
	for _, f := range nightFaults {
		if f.name != "put late" && f.name != "another run meanwhile, without the leases" {
			out = append(out, f)
		}
	}
	return out
}

// toolAttempts is how often a person runs a tool again.
const toolAttempts = 6

// attacked runs a tool for a user's backup with a fault, and then without one until it succeeds. Errors
// that again reports are explained by what happened meanwhile.
func (w *soak) attacked(what string, t *soakTool, u *soakUser, do func() error, again func(error) bool) error {
	w.deliver()
	u.amid, u.again, t.busy = true, false, true
	defer func() { u.amid, t.busy = false, false }()
	i, f := w.rng.IntN(len(w.parts)), w.drawFault(attacks())
	at := w.rng.IntN(pick(w, []int{10, 40, 150}))
	w.note("%s of %s by %s; fault: %s at request %d to %s", what, u.name, t.name, f.name, at, w.parts[i].name)
	f.do(w, t, t.nets[i], at)
	if w.one(3) { // the client of this user is the one who notices
		h := pick(w, w.hosts)
		t.nets[i].Add(meanwhile(w.rng.IntN(40), func() { w.between(w.syncWith(u, h)) }))
	}
	err := do()
	t.calm()
	for n := 0; ; n++ {
		w.note("  %s of %s: %v", what, u.name, err)
		switch {
		case w.amid != nil:
			return w.amid
		case err == nil:
			return nil
		case n == toolAttempts || (n > 0 || !f.fails) && !again(err) && !errors.Is(err, repository.ErrUpkeep) && !errors.Is(err, repository.ErrHeld):
			return fmt.Errorf("%s of %s, attempt %d: %w", what, u.name, n+1, err)
		}
		w.clock.advance(time.Duration(20+w.rng.IntN(300)) * time.Minute) // leases end
		if w.one(2) {
			if err := w.sync(u); err != nil {
				return err
			}
		}
		if w.one(3) {
			if err := w.compact(w.otherTool(t), w.rng.IntN(len(w.parts)), true); err != nil {
				return err
			}
		}
		err = do()
	}
}

// drawFault draws one of the faults by weight.
func (w *soak) drawFault(from []nightFault) nightFault {
	total := 0
	for _, f := range from {
		total += f.weight
	}
	n := w.rng.IntN(total)
	at := slices.IndexFunc(from, func(f nightFault) bool { n -= f.weight; return n < 0 })
	return from[at]
}

func (w *soak) otherTool(t *soakTool) *soakTool {
	if t == w.tools[0] {
		return w.tools[1]
	}
	return w.tools[0]
}

// fit returns a user for whom a person runs a tool, or nil: damage is repaired first, and clocks are set.
func (w *soak) fit() *soakUser {
	u := pick(w, w.users)
	if w.ill != nil || w.rotten || w.clockOff() || w.home(u) < 0 {
		return nil
	}
	return u
}

// configs returns all partitions as a tool reaches them.
func (t *soakTool) configs() (out []repository.Config) {
	for i, n := range t.nets {
		out = append(out, repository.Config{Name: t.w.parts[i].name, Location: "memory", Store: n})
	}
	return out
}

// configs returns all partitions, without trouble.
func (w *soak) configs() (out []repository.Config) {
	for _, p := range w.parts {
		out = append(out, p.Config())
	}
	return out
}

// scratch opens partitions with a temporary index, as tools do that write to a bucket.
func (t *soakTool) scratch(parts ...repository.Config) (*partitions.Set, func() error, error) {
	dir := filepath.Join(t.w.dir, fmt.Sprintf("%s.%d", t.name, t.w.number()))
	x, err := index.Open(dir, index.Options{})
	if err != nil {
		return nil, nil, err
	}
	set, err := partitions.Open(partitions.Options{Index: x, Host: t.name, Software: "soak", PackSize: 16 << 10, PackBuffers: 2, NoCheckpoints: true,
		OutageWait: 20 * time.Millisecond, PatientWait: 20 * time.Millisecond, Now: t.w.clock.now, ClockPause: time.Nanosecond, Partitions: parts})
	if err != nil {
		return nil, nil, errors.Join(err, x.Close(), os.RemoveAll(dir))
	}
	return set, func() error { return errors.Join(set.Close(), x.Close(), os.RemoveAll(dir)) }, nil
}

// forget makes the hosts look for a user's backup again. No later rollback returns to a time before now.
func (w *soak) forget(u *soakUser) {
	for _, h := range w.hosts {
		delete(h.knows, u.name)
		h.vague = true // a host that finds no commit of the backup reads its partition again, at any time later
	}
	for _, p := range w.parts {
		p.past = []memstore.Snapshot{p.store.Snapshot()}
	}
}
