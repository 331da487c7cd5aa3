package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// RepairOptions are the options of Repair.
type RepairOptions struct {
	Lock repository.LockOptions
	// Others are the partitions to search for other copies of bodies, including this one.
	Others   []repository.Config
	Pack     pack.Options
	PackSize int64 // bytes of a pack; 0: 12 MiB
	// Replacing is called before a pack is put that has entries of another one, which may have been erased
	// messages, or after it was noted, if an erasure has begun meanwhile. lease is that of collection.
	// nil: it is not called.
	Replacing func(ctx context.Context, lease *repository.Upkeep, old, now string) error
	Problem   func(Problem) // called with each problem that verify finds before the repair
	Report    func(Change)  // called with each change
	Step      func(string)  // called with the present step; may be nil
}

// Outcome is the result of the repair of one object.
type Outcome string

// The outcomes.
const (
	Repaired  Outcome = "repaired"     // the object is complete again
	Waits     Outcome = "waits"        // the source sends the data in the next sync
	LostHere  Outcome = "lost"         // history without any other copy
	Unchanged Outcome = "not repaired" // still damaged
)

// Change is a change that a repair has made.
type Change struct {
	Outcome Outcome `json:"outcome"`
	Object  string  `json:"object"` // key, mailbox or message
	Text    string  `json:"text"`
}

// String returns the change as a line of text.
func (r Change) String() string { return fmt.Sprintf("%s: %s: %s", r.Outcome, r.Object, r.Text) }

// RepairResult is the result of a repair.
type RepairResult struct {
	Found    int // problems before
	Outcomes map[Outcome]int
	Left     Result // of the verification at the end; zero if there were no problems
	Aside    string // prefix of the backup that was set aside because it belonged to another owner
}

// Repair verifies a backup, and repairs it as far as the bucket allows. It marks the rest,
// so that the next sync sends it again. It holds the lock of the backup; daemons read the
// log again afterwards. Each step is durable before another one depends on it, so after an
// interruption the same call finishes the repair. A log that was not completely copied is left
// unchanged: a commit in it would keep the copy from being finished.
func Repair(ctx context.Context, f *repository.Found, o RepairOptions) (RepairResult, error) {
	if f.Aside != "" {
		return RepairResult{}, fmt.Errorf("%s: %w", f.Aside, repository.ErrAside)
	}
	if o.PackSize == 0 {
		o.PackSize = 12 << 20
	}
	r := &repairer{ctx: ctx, f: f, o: o, store: f.Partition.Store, done: RepairResult{Outcomes: map[Outcome]int{}}}
	w, err := runSettled(ctx, f, Options{Report: o.Problem, Step: o.Step})
	if err != nil {
		return r.done, err
	}
	r.done.Found = w.done.Damaged
	if r.done.Found == 0 || w.diagnosis.unfinished != nil {
		return r.done, w.diagnosis.unfinished
	}
	for round := 0; w != nil && round < rounds && err == nil; round++ {
		w, err = r.round(w)
	}
	r.left.release()
	return r.done, err
}

// rounds is how often a backup is repaired and verified. A log may have several histories, after a bucket was set back or hosts
// have written to copies of it. The repair of one can make readers choose another one, which has damage, too.
const rounds = 3

// round repairs what a verifier has found, and verifies the backup again. It returns the verifier for the next round, or nil if
// another one would not help.
func (r *repairer) round(w *verifier) (next *verifier, err error) {
	r.diagnosis, r.blocks, r.first = w.diagnosis, w.blocks, w.first
	r.left, r.changes = heldBack{report: r.reportLeft}, 0
	if foreign, err := r.setAsideForeign(r.ctx); err != nil || foreign {
		return nil, err
	}
	if err := r.locked(r.ctx); err != nil {
		return nil, err
	}
	next, err = runSettled(r.ctx, r.f, Options{Report: r.leave, Step: r.o.Step})
	r.done.Left = next.done
	if len(r.left.held) == 0 || r.changes == 0 || next.diagnosis.unfinished != nil {
		return nil, err
	}
	return next, err
}

// repairer repairs one backup.
type repairer struct {
	ctx       context.Context // of Repair
	f         *repository.Found
	o         RepairOptions
	store     objstore.Store
	diagnosis diagnosis
	blocks    map[string]bool // objects in records/: whether they are sound
	first     uint64          // the first commit at that time
	lock      *repository.Lock
	done      RepairResult
	changes   int      // of this round
	left      heldBack // damage that this round has left
}

func (r *repairer) report(o Outcome, object, format string, args ...any) {
	r.done.Outcomes[o]++
	r.changes++
	r.o.Report(Change{o, object, fmt.Sprintf(format, args...)})
}

// leave holds damage back that a round has left.
func (r *repairer) leave(p Problem) {
	if !p.Missing && !p.Lost {
		r.left.add(p)
	}
}

// reportLeft reports damage that is left at the end.
func (r *repairer) reportLeft(p Problem) { r.report(Unchanged, p.Object, "%s", p.Text) }

// unsound reports whether an object with blocks is damaged or missing. An object that was
// written since verify is sound.
func (r *repairer) unsound(object string) bool {
	sound, known := r.blocks[object]
	if known {
		return !sound
	}
	_, err := r.store.Stat(r.ctx, object)
	return errors.Is(err, objstore.ErrNotExist)
}

func (r *repairer) step(what string) {
	if r.o.Step != nil {
		r.o.Step(what)
	}
}

// locked repairs under the lock of the backup.
func (r *repairer) locked(ctx context.Context) (err error) {
	o := r.o.Lock
	o.Mend = true
	u, err := repository.ExcludeUpkeep(ctx, r.f, o) // which would replace objects meanwhile
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	if r.lock, err = r.f.TakeLease(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.lock.Release(context.WithoutCancel(ctx))) }()
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.lock.Lost(), cancel)()
	defer context.AfterFunc(u.Lost(), cancel)()
	if r.diagnosis.lock {
		r.report(Repaired, repository.LockKey(r.f.Path), "rewritten; nobody held the lock")
	}
	for _, step := range []func(context.Context) error{r.verifyAgain, r.condemned, r.backupInfo, r.salvageLog, r.announce, r.bridge, r.stuckPacks, r.bodies, r.checkpoints} {
		if err := step(during); err != nil {
			return err
		}
	}
	return nil
}

// verifyAgain repeats the diagnosis if retention has removed a part of the log since: the rest of the
// repair would treat that as a loss. It returns an error if a copy to this place has begun since.
func (r *repairer) verifyAgain(ctx context.Context) error {
	o, err := r.f.Log().Outline(ctx)
	if err == nil {
		err = o.Unfinished()
	}
	if err != nil || o.First <= r.first {
		return err
	}
	w := newVerifier(ctx, r.f, Options{Report: func(Problem) {}, Step: r.o.Step})
	if err := w.run(); err != nil {
		return err
	}
	r.diagnosis, r.blocks, r.first = w.diagnosis, w.blocks, w.first
	return nil
}

// announce stops daemons that have the backup open.
func (r *repairer) announce(ctx context.Context) error { return r.lock.AnnounceAnyway(ctx) }

// salvageLog rewrites damaged commits whose events are readable. Their unreadable bodies are
// searched for later.
func (r *repairer) salvageLog(ctx context.Context) error {
	for _, key := range r.diagnosis.objects {
		n, _, _ := history.ParseLogKey(r.f.Path, key)
		if history.CheckObject(ctx, r.store, key) == nil {
			continue // a sound object with a commit of another history: bridge records it
		}
		body, etag, drop, err := repository.ReadWhole(ctx, r.store, key)
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		obj, lost, err := history.SalvageCommit(body, body.Size(), r.f.Path, n, r.o.Pack)
		drop()
		if err != nil {
			continue // the commit is lost: bridge records it
		}
		if err := r.replace(ctx, key, etag, obj); err != nil {
			return err
		}
		r.diagnosis.log = slices.DeleteFunc(r.diagnosis.log, func(l history.LostRange) bool { return l.From == n && l.To == n })
		if len(lost) == 0 {
			r.report(Repaired, key, "rewritten completely")
		} else {
			r.report(Repaired, key, "rewritten without %s", english.Plural(len(lost), "unreadable body", "unreadable bodies"))
		}
	}
	return nil
}

// replace overwrites the object that was read with this ETag.
func (r *repairer) replace(ctx context.Context, key, etag string, b []byte) error {
	o := objstore.PutOptions{IfMatch: etag}
	if etag == "" {
		o = objstore.PutOptions{IfAbsent: true}
	}
	_, err := r.store.Put(ctx, key, bytes.NewReader(b), o)
	return err
}
