package partitions_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// soakKeep is how long every moment is kept.
const soakKeep = 3 * 24 * time.Hour

var soakPolicy = maintenance.Policy{Keep: soakKeep, Daily: 2, Weekly: 1, LogMinAge: maintenance.MinLogAge, DeletedFolders: soakKeep, DeletedPrefix: "DELETED"}

// soakTool is a host that runs ctl_backups compact at night.
type soakTool struct {
	w      *soak
	name   string
	nets   []*faultstore.Store
	dead   atomic.Bool // killed: its requests no longer reach a bucket
	cache  string
	busy   bool
	noTrip bool
	awaits map[int]bool // by partition: old mail arrives when the next pack is removed
	policy maintenance.Policy
}

func (w *soak) newTool(i int) *soakTool {
	t := &soakTool{w: w, name: fmt.Sprintf("tool%d", i), policy: soakPolicy}
	for _, p := range w.parts {
		t.nets = append(t.nets, faultstore.New(p.store))
	}
	if w.undamaged() || w.seed%2 == 0 {
		t.policy.Daily, t.policy.Weekly = 0, 0 // a checkpoint of the last days with changes would stay, and its packs
	}
	if i == 0 {
		t.cache = filepath.Join(w.dir, t.name)
	}
	t.calm()
	return t
}

func (t *soakTool) calm() {
	t.dead.Store(false)
	t.awaits = map[int]bool{}
	for _, n := range t.nets {
		n.Clear()
		n.Add(faultstore.Fault{Before: func(op, key string) error {
			if t.dead.Load() {
				return &objstore.Error{Op: op, Key: key, Err: errKilled}
			}
			return nil
		}})
	}
}

func (t *soakTool) lock() repository.LockOptions {
	return repository.LockOptions{Owner: t.name, Host: t.name, Now: t.w.clock.now}
}

// Events of the nights.
var upkeepEvents = []soakEvent{
	{14, "night", true, (*soak).night},
	{2, "hold", true, (*soak).hold},
	{4, "release", true, (*soak).release},
	{5, "restore begins", true, (*soak).beginReading},
}

// nightFault can happen to a compactor.
type nightFault struct {
	weight int
	name   string
	fails  bool // the run may fail
	do     func(w *soak, t *soakTool, n *faultstore.Store, at int)
}

// meanwhile returns a fault that lets something happen in the middle of a run.
func meanwhile(at int, do func()) faultstore.Fault {
	return faultstore.Fault{Skip: at, Count: 1, Call: func(string, string) { do() }}
}

var nightFaults = []nightFault{
	{8, "none", false, func(*soak, *soakTool, *faultstore.Store, int) {}},
	{5, "killed", true, func(_ *soak, t *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Count: 1, Call: func(string, string) { t.dead.Store(true) }})
	}},
	{3, "killed after a request", true, func(_ *soak, t *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Count: 1, After: func(string, string) error { t.dead.Store(true); return errKilled }})
	}},
	{2, "calls fail", true, func(w *soak, _ *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Count: 1 + w.rng.IntN(3), Before: faultstore.Lost})
	}},
	{3, "answers lost", true, func(w *soak, _ *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Count: 1 + w.rng.IntN(3), After: faultstore.Lost})
	}},
	{2, "put twice", true, func(_ *soak, _ *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Twice: true})
	}},
	{3, "put late", true, func(_ *soak, _ *soakTool, n *faultstore.Store, at int) {
		n.Add(faultstore.Fault{Skip: at, Count: 6, Late: true})
	}},
	{6, "a sync meanwhile", false, func(w *soak, _ *soakTool, n *faultstore.Store, at int) {
		u, h := w.someUser(), pick(w, w.hosts)
		n.Add(meanwhile(at, func() { w.between(w.syncWith(u, h)) }))
	}},
	{3, "another run meanwhile", true, func(w *soak, t *soakTool, n *faultstore.Store, at int) {
		n.Add(meanwhile(at, func() { w.between(w.compact(w.otherTool(t), w.partOf(n), true)) }))
	}},
	{2, "another run meanwhile, without the leases", true, func(w *soak, t *soakTool, n *faultstore.Store, at int) {
		i := w.partOf(n)
		n.Add(meanwhile(at, func() {
			for _, key := range w.parts[i].store.Keys("") {
				if strings.HasSuffix(key, "upkeep.json") {
					w.parts[i].store.Lose(key)
				}
			}
			w.between(w.compact(w.otherTool(t), i, true))
		}))
	}},
}

// between keeps the error of something that happened in the middle of a run.
func (w *soak) between(err error) {
	if w.amid == nil {
		w.amid = err
	}
}

func (w *soak) partOf(n *faultstore.Store) int {
	for _, t := range w.tools {
		for i, m := range t.nets {
			if m == n {
				return i
			}
		}
	}
	return -1
}

// night runs one of the compactors for one of the buckets, with a fault.
func (w *soak) night() error {
	w.clock.advance(time.Duration(8+w.rng.IntN(40)) * time.Hour)
	t, i := pick(w, w.tools), w.rng.IntN(len(w.parts))
	f, at := w.drawFault(nightFaults), w.rng.IntN(pick(w, []int{20, 100, 400}))
	w.note("night: %s works on %s; fault: %s at request %d", t.name, w.parts[i].name, f.name, at)
	f.do(w, t, t.nets[i], at)
	err := w.compact(t, i, f.fails)
	t.calm()
	if err = errors.Join(err, w.amid); err != nil {
		return err
	}
	return w.checkSome(i)
}

// checkSome compares some moments of users in a partition.
func (w *soak) checkSome(part int) error {
	for _, a := range w.aside {
		if w.one(3) {
			if err := w.checkAside(a, 2); err != nil {
				return err
			}
		}
	}
	if w.one(4) {
		if err := w.searchErased(false); err != nil {
			return err
		}
	}
	for _, u := range w.users {
		if w.home(u) != part || w.sick(u) || !w.one(3) {
			continue
		}
		if err := w.checkPastOf(u, 2); err != nil {
			return err
		}
	}
	return nil
}

// compact does what ctl_backups compact -A does. It returns only errors that nothing explains.
func (w *soak) compact(t *soakTool, part int, fails bool) error {
	if t.busy {
		return nil
	}
	t.busy = true
	defer func() { t.busy = false }()
	p := w.parts[part]
	if p.empty() {
		return nil
	}
	c := repository.Config{Name: p.name, Location: "memory", Store: t.nets[part]}
	before := maintenance.LastDay(w.clock.now(), maintenance.MinLogAge)
	merger := maintenance.NewMerger(c, maintenance.MergeOptions{PackSize: 16 << 10, Before: before})
	explained := func(err error) bool {
		return err == nil || fails || w.ill != nil || w.rotten || w.rolled || p.off.Load() != 0 || errors.Is(err, repository.ErrOnHold) ||
			errors.Is(err, cyrus.ErrLocked) || errors.Is(err, repository.ErrSealed) || strings.Contains(err.Error(), "its log is missing") || w.hurt > 0 && history.IsDamage(err) || strings.Contains(err.Error(), "contradict each other")
	}
	for _, u := range w.users {
		for _, h := range w.hosts {
			if w.home(u) == part { // a host that finds its newest commit merged looks for the backup again
				delete(h.knows, u.name)
			}
		}
	}
	for f, err := range repository.Browse(w.t.Context(), c) {
		if err == nil {
			err = w.compactOne(t, merger, f)
		}
		if !explained(err) {
			return fmt.Errorf("%s compacts %s: %w", t.name, p.name, err)
		}
		if err != nil {
			w.note("  %v", err)
		}
	}
	if w.one(3) {
		if err := w.condemn(t, c); !explained(err) {
			return fmt.Errorf("%s condemns in %s: %w", t.name, p.name, err)
		}
	}
	r, err := w.collect(t, c)
	w.mu.Lock()
	w.counts["packs removed"] += r.Removed.Packs
	w.counts["packs rewritten"] += r.Rewritten.Packs
	w.counts["packs removed after a rewrite"] += r.Replaced.Packs
	w.counts["mostly dead packs condemned"] += r.Thinning.Packs
	w.counts["packs condemned"] += r.Condemning.Packs
	w.mu.Unlock()
	for _, b := range r.Blocked {
		err = errors.Join(err, b)
	}
	if !explained(err) {
		return fmt.Errorf("%s collects in %s: %w", t.name, p.name, err)
	}
	w.note("  collection: %d packs removed, %d condemned, %v", r.Removed.Packs, r.Condemning.Packs, err)
	return nil
}

// collect removes packs, also those with erased bodies.
func (w *soak) collect(t *soakTool, c repository.Config) (*collection.Result, error) {
	due, err := w.dueErasures(t, c)
	if err != nil {
		return &collection.Result{}, err
	}
	o := collection.Options{Lock: t.lock(), Cache: t.cacheDir(), PackSize: 16 << 10, RewriteGain: 1, AcceptMissing: w.acceptable()}
	if len(due) > 0 {
		o.Erase = erasure.Packs(w.t.Context(), c, due)
		if err := erasure.Sweep(w.t.Context(), c, due, t.lock()); err != nil {
			return &collection.Result{}, err
		}
	}
	w.beforeRemoval(t, w.partOf(c.Store.(*faultstore.Store)))
	r, err := collection.Collect(w.t.Context(), c, o)
	if err == nil && r.Blocking == 0 {
		w.accept(c)
		err = w.settle(t, c, due, r)
	}
	return r, err
}

// acceptable returns the backups of users who have lost commits by damage: a person knows that, and says so once.
func (w *soak) acceptable() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.harmed)
}

// accept forgets which backups of a partition have lost commits, after a complete pass.
func (w *soak) accept(c repository.Config) {
	at := w.partOf(c.Store.(*faultstore.Store))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.users {
		if w.home(u) == at {
			delete(w.harmed, u.path())
		}
	}
}

// condemn puts a pack on the list, although it may be used: it will be rewritten.
func (w *soak) condemn(t *soakTool, c repository.Config) error {
	var packs []collection.Pack
	for _, key := range w.byAge(w.parts[w.partOf(c.Store.(*faultstore.Store))], "packs/") {
		name, _, _ := strings.Cut(filepath.Base(key), ".")
		if b, err := hex.DecodeString(name); err == nil && len(b) == len(collection.Pack{}) {
			packs = append(packs, collection.Pack(b))
		}
	}
	if len(packs) == 0 {
		return nil
	}
	lease, err := repository.BeginCollection(w.t.Context(), c, t.lock())
	if err != nil {
		return err
	}
	id := pick(w, packs)
	w.note("  %x is condemned", id[:4])
	err = collection.Condemn(w.t.Context(), c, lease, func(yield func(collection.Pack, error) bool) { yield(id, nil) })
	return errors.Join(err, lease.End(context.WithoutCancel(w.t.Context())))
}

func (t *soakTool) cacheDir() string {
	if t.cache != "" && os.MkdirAll(t.cache, 0o700) != nil {
		return ""
	}
	return t.cache
}

func (w *soak) compactOne(t *soakTool, merger *maintenance.Merger, f *repository.Found) error {
	ctx := w.t.Context()
	u, err := repository.BeginUpkeep(ctx, f, t.lock())
	if err != nil {
		return err
	}
	job := merger.Add(ctx, f, u)
	err = errors.Join(merger.Flush(ctx), job.Err)
	var done maintenance.RetainResult
	before := w.trip
	if t.noTrip {
		before = nil
	}
	if err == nil {
		done, err = maintenance.Retain(ctx, f, u, maintenance.RetainOptions{Policy: t.policy, Lock: t.lock(), Before: before})
	}
	w.mu.Lock()
	w.counts["commits merged"] += job.Commits
	w.counts["log objects removed by retention"] += done.Log.Objects
	w.mu.Unlock()
	if job.Commits > 0 || done.Changed() {
		w.note("  %s: %d commits in %d segments; retention up to commit %d", f.Path, job.Commits, job.Segments, done.Cut.Number)
	}
	return errors.Join(err, u.End(context.WithoutCancel(ctx)))
}

// trip places a hold if much was deleted.
func (w *soak) trip(ctx context.Context, f *repository.Found) error {
	a, err := tripwire.Check(ctx, f, tripwire.Options{Rule: tripwire.Rule{Share: 60, Window: 2 * time.Hour, Least: 6}, DeletedPrefix: "DELETED", Now: w.clock.now()})
	if a == nil || err != nil {
		return err
	}
	w.note("  tripwire of %s: %s", f.Path, a)
	w.mu.Lock()
	w.counts["tripwire"]++
	w.mu.Unlock()
	if err := f.PlaceHold(ctx, a.Hold("soak"), w.clock.now); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", repository.ErrOnHold, a)
}

// hold places a hold. From then on, no moment that exists is removed.
func (w *soak) hold() error {
	u := pick(w, w.users)
	f, err := w.found(u)
	if f == nil || err != nil || w.sick(u) || w.ill != nil || w.clockOff() {
		return nil
	}
	if err := f.PlaceHold(w.t.Context(), repository.Hold{Kind: repository.HoldPlaced, By: "soak", Reason: "a case"}, w.clock.now); err != nil {
		return fmt.Errorf("hold of %s: %w", u.name, err)
	}
	w.note("hold of %s", u.name)
	u.held = true
	return w.markHeld(u)
}

// markHeld marks the moments that exist, and drops the others.
func (w *soak) markHeld(u *soakUser) error {
	var there []moment
	for _, p := range u.past {
		err := w.checkMoment(u, p)
		if errors.Is(err, errDropped) {
			continue
		}
		if err != nil {
			return err
		}
		p.held = true
		there = append(there, p)
	}
	u.past = there
	return nil
}

func (w *soak) clockOff() bool {
	for _, p := range w.parts {
		if p.off.Load() != 0 {
			return true
		}
	}
	return false
}

func (w *soak) release() error {
	if w.clockOff() {
		return nil
	}
	for _, u := range w.users {
		f, err := w.found(u)
		if f == nil || err != nil || w.sick(u) || !w.one(2) {
			continue
		}
		if _, err := f.ReleaseHolds(w.t.Context(), w.clock.now, repository.AnyHold); err != nil && w.ill == nil && !w.rolled {
			return fmt.Errorf("release of %s: %w", u.name, err)
		}
		u.released()
	}
	return nil
}

// released notes that the user is no longer on hold.
func (u *soakUser) released() {
	u.held = false
	for i := range u.past {
		u.past[i].held = false
	}
}

// lastNights lets many quiet nights pass. Nobody sends mail. Afterwards nothing is left
// of messages that no mailbox has any more.
func (w *soak) lastNights() error {
	for _, t := range w.tools {
		t.noTrip = true
	}
	for _, p := range w.parts {
		for f, err := range repository.Browse(w.t.Context(), p.Config()) {
			if err == nil {
				_, err = f.ReleaseHolds(w.t.Context(), w.clock.now, repository.AnyHold)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, u := range w.users {
		u.held, u.past = false, nil
	}
	if err := w.eraseOld(); err != nil {
		return err
	}
	for range 60 {
		w.clock.advance(25 * time.Hour)
		for i := range w.parts {
			if err := w.compact(w.tools[0], i, false); err != nil {
				return err
			}
		}
	}
	for _, u := range slices.Clone(w.users) {
		if err := w.syncPatiently(u); err != nil {
			return err
		}
	}
	return errors.Join(w.searchAll(), w.searchErased(true))
}

// searchAll searches every object for the GUIDs of messages that no mailbox has.
func (w *soak) searchAll() error {
	live, dead := w.liveMail(), map[string]bool{}
	for _, b := range w.mail {
		if g := fmt.Sprintf("%x", sha1.Sum(b)); !live[g] {
			dead[g] = true
		}
	}
	for _, p := range w.parts {
		if err := w.searchPart(p, live, dead); err != nil {
			return err
		}
	}
	return nil
}

// searchPart searches a partition. An object with many blocks or messages stays as long as one of them
// is needed, and so do packs with messages in such blocks.
func (w *soak) searchPart(p *soakPart, live, dead map[string]bool) error {
	all, err := w.search(p)
	if err != nil {
		return err
	}
	named := w.named(p)
	blocks := map[string]bool{} // GUIDs in objects that checkpoints name
	for key, s := range all {
		if strings.Contains(key, "/records/") && named[key] {
			for _, g := range s.needles {
				blocks[g] = true
			}
		}
	}
	for key, s := range all {
		if strings.Contains(key, "/records/") && named[key] {
			continue
		}
		found, needed := 0, false
		for _, g := range s.needles {
			if dead[g] {
				found++
			}
			needed = needed || isGUID(g) && (live[g] || blocks[g])
		}
		w.counts["objects searched"]++
		if found > 0 && !(strings.HasPrefix(key, "packs/") && needed) {
			return fmt.Errorf("%s of %s has %d messages that are long gone; %s", key, p.name, found, w.naming(p, key))
		}
	}
	return nil
}
