package partitions_test

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
)

// soakEvent is something that can happen in a world, with its weight.
type soakEvent struct {
	weight int
	name   string
	fault  bool // the event is a fault: -soak.only selects among faults
	do     func(w *soak) error
}

// notYet are faults that the program does not survive yet, with the missing feature.
var notYet = map[string]string{}

func second(n int) time.Duration { return time.Duration(n) * time.Second }

// soakEvents returns all events that can happen.
func soakEvents() []soakEvent {
	all := slices.Concat([]soakEvent{
		{120, "change", false, (*soak).change},
		{4, "source is restored", false, (*soak).restoreSource},
		{20, "sync", false, func(w *soak) error { return w.sync(pick(w, w.users)) }},
		{5, "snapshot", false, func(w *soak) error { w.snapshot(); return nil }},
		{12, "trouble ends", false, func(w *soak) error { w.calm(); return nil }},
		{3, "new user", false, (*soak).replaceUser},
		{3, "user is renamed", false, (*soak).renameUser},
	}, oldMailEvents, processEvents, networkEvents, clockEvents, bucketEvents, upkeepEvents, byHand(toolEvents))
	return slices.DeleteFunc(all, func(e soakEvent) bool {
		if *soakOnly != "" {
			return e.fault && !slices.Contains(strings.Split(*soakOnly, ","), e.name)
		}
		return e.weight == 0 || *soakOnly == "" && notYet[e.name] != ""
	})
}

// byHand returns events that happen only if a person runs the test, until their model has proved itself.
func byHand(events []soakEvent) []soakEvent {
	if *soakSeed == 0 && *soakSteps == 0 {
		return nil
	}
	return events
}

// act runs one random event.
func (w *soak) act() error {
	if w.ill != nil && w.one(5) {
		return w.heal()
	}
	total := 0
	for _, e := range w.events {
		total += e.weight
	}
	n := w.rng.IntN(total)
	for _, e := range w.events {
		if n -= e.weight; n < 0 {
			if e.fault {
				w.note("FAULT %s", e.name)
			}
			w.counts[e.name]++
			return e.do(w)
		}
	}
	return nil
}

// replaceUser deletes a user and creates another one, so that histories do not grow without
// limit.
func (w *soak) replaceUser() error {
	i := w.rng.IntN(len(w.users))
	u := w.users[i]
	// The mail server keeps tombstones of the mailboxes of a former person. A source does not.
	forgot := u.account.person && !u.all
	if w.sick(u) || forgot || len(w.users) < 4 {
		return w.sync(w.newUser())
	}
	clear(u.account.boxes)
	w.note("%s is deleted", u.name)
	if err := w.sync(u); err != nil {
		return err
	}
	if u.all {
		w.users = slices.Delete(w.users, i, i+1)
	}
	return w.sync(w.newUser())
}

// Events of processes and their disks.
var processEvents = []soakEvent{
	{2, "restart", true, func(w *soak) error { return pick(w, w.hosts).restart(nil) }},
	{2, "index lost", true, func(w *soak) error { return pick(w, w.hosts).loseIndex() }},
	{2, "index saved", false, func(w *soak) error {
		h := pick(w, w.hosts)
		return h.restart(func() error {
			h.former = filepath.Join(w.dir, h.name+".former")
			copyIndex(w.t, h.dir, h.former)
			h.stale = h.vague
			return nil
		})
	}},
	{2, "index older", true, func(w *soak) error {
		h := pick(w, w.hosts)
		if h.former == "" {
			return nil
		}
		clear(h.knows)
		h.vague = h.stale
		return h.restart(func() error {
			copyIndex(w.t, h.former, h.dir)
			return nil
		})
	}},
	{3, "kill", true, (*soak).kill},
	{3, "kill in the index", true, func(w *soak) error {
		pick(w, w.hosts).dieAt.Store(int64(1 + w.rng.IntN(20)))
		return nil
	}},
}

// kill makes a process die at one of its next calls, before or after the call takes effect.
func (w *soak) kill() error {
	h := pick(w, w.hosts)
	at := w.rng.IntN(12)
	after := w.one(2)
	for _, n := range h.nets {
		f := faultstore.Fault{Skip: at, Count: 1, Call: h.die}
		if after {
			f = faultstore.Fault{Skip: at, Count: 1, After: func(op, key string) error {
				h.die(op, key)
				return errKilled
			}}
		}
		n.Add(f)
	}
	return nil
}

// Events of the network between a host and a bucket. They last until trouble ends.
var networkEvents = []soakEvent{
	{4, "calls fail", true, struck(true, 3, func(f *faultstore.Fault) { f.Before = faultstore.Lost })},
	{4, "answers lost", true, struck(true, 3, func(f *faultstore.Fault) { f.After = faultstore.Lost })},
	{2, "403", true, struck(true, 0, func(f *faultstore.Fault) { f.Before = faultstore.Denied })},
	{2, "400", true, struck(true, 0, func(f *faultstore.Fault) { f.Before = faultstore.BadRequest })},
	{2, "404 bucket", true, struck(true, 0, func(f *faultstore.Fault) { f.Before = faultstore.NoBucket })},
	{2, "503", true, struck(true, 0, func(f *faultstore.Fault) { f.Before = faultstore.Lost })},
	{5, "put twice", true, struck(false, 0, func(f *faultstore.Fault) { f.Twice = true })},
	{4, "put late", true, struck(false, 4, func(f *faultstore.Fault) { f.Late = true })},
	{4, "garbled", true, struck(true, 1, func(f *faultstore.Fault) {
		f.Garble = func(_ int64, b []byte) []byte {
			if len(b) > 0 {
				b[len(b)/2] ^= 4
			}
			return b
		}
	})},
	{6, "late puts arrive", false, func(w *soak) error { w.deliver(); return nil }},
}

// struck returns an event that applies a fault to some of the next calls of one host to one
// bucket, or to all of them if most is 0. With fails, the fault may make commands fail.
func struck(fails bool, most int, set func(*faultstore.Fault)) func(*soak) error {
	return func(w *soak) error {
		h, i := pick(w, w.hosts), w.rng.IntN(len(w.parts))
		f := faultstore.Fault{Skip: w.rng.IntN(6)}
		if most > 0 {
			f.Count = 1 + w.rng.IntN(most)
		}
		set(&f)
		h.nets[i].Add(f)
		h.trouble[i] = h.trouble[i] || fails
		w.note("network from %s to %s: %d calls, after %d", h.name, w.parts[i].name, f.Count, f.Skip)
		return nil
	}
}

// Events of clocks.
var clockEvents = []soakEvent{
	{2, "one wrong time", true, struck(false, 1, func(f *faultstore.Fault) { f.Shift = 10 * 365 * 24 * time.Hour })},
	{1, "one old time", true, struck(false, 1, func(f *faultstore.Fault) { f.Shift = -10 * 365 * 24 * time.Hour })},
	{2, "bucket's clock", true, func(w *soak) error {
		p := pick(w, w.parts)
		p.off.Store(int64(pick(w, []time.Duration{-20 * time.Minute, 24 * time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour})))
		w.note("the clock of %s is now off by %v", p.name, time.Duration(p.off.Load()))
		return nil
	}},
	{2, "host's clock", true, func(w *soak) error {
		h := pick(w, w.hosts)
		h.off.Store(int64(pick(w, []time.Duration{-20 * time.Minute, 24 * time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour})))
		w.note("the clock of %s is now off by %v", h.name, time.Duration(h.off.Load()))
		return nil
	}},
}

// calm ends all trouble, but does not heal damage.
func (w *soak) calm() {
	for _, h := range w.hosts {
		if !h.dead.Load() {
			h.calm()
		}
		h.off.Store(0)
	}
	for _, p := range w.parts {
		p.off.Store(0)
	}
	w.deliver()
	w.note("trouble ends")
}

// deliver makes the late copies of puts arrive.
func (w *soak) deliver() {
	for _, t := range w.tools {
		for i, n := range t.nets {
			if late := n.Deliver(w.t.Context()); late > 0 {
				w.note("%d late puts of %s arrive in %s", late, t.name, w.parts[i].name)
			}
		}
	}
	for _, h := range w.hosts {
		for i, n := range h.nets {
			if late := n.Deliver(w.t.Context()); late > 0 {
				w.note("%d late puts of %s arrive in %s", late, h.name, w.parts[i].name)
			}
		}
	}
}
