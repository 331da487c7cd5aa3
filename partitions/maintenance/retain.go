package maintenance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// RetainOptions are the options of Retain.
type RetainOptions struct {
	Policy
	Lock   repository.LockOptions // who writes the commit of retention
	Pack   pack.Options
	DryRun bool // change nothing; the upkeep can be nil
	// Before is called before anything of a backup is changed. Its error ends the retention of
	// the backup. Nil: it is not called.
	Before func(ctx context.Context, f *repository.Found) error
	// Erasing reports whether an erasure of the history of a backup is open: Sweep removes its blocks then, and knows
	// which of them daemons may be using. It is called before blocks are removed. Nil: none is open.
	Erasing func(ctx context.Context, f *repository.Found) (bool, error)
}

// Removed counts objects.
type Removed struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (r *Removed) add(bytes int64) {
	r.Objects++
	r.Bytes += bytes
}

// RetainResult is what Retain has done, or would do.
type RetainResult struct {
	// Cut is the last commit that was removed from the log; 0 = none. A checkpoint keeps its state.
	Cut  history.Kept
	Kept []KeptMoment // before the log; only if something was removed

	Log, Checkpoints, Records Removed
	Written                   int    // checkpoints
	Folders                   int    // that the mail server had deleted with delay
	Pruned                    bool   // deleted content was dropped from the state
	Commit                    uint64 // of retention; 0 = none
}

// Changed reports whether anything was to be done.
func (r *RetainResult) Changed() bool {
	return r.Cut.Number > 0 || r.Pruned || r.Folders > 0
}

// retainEvery is the shortest time between two runs that remove something from a backup. A reader
// of a checkpoint that is removed can read its blocks until the next run.
const retainEvery = 24 * time.Hour

// Retain removes from a backup what the policy does not keep. Each of its steps is durable before
// the next one: it writes a checkpoint at each moment to be kept, reads them back, puts a commit
// that records the removal, and then removes the checkpoints that are not kept, the log up to the
// newest of the kept ones, and blocks that nothing names. After an interruption, a later run
// continues. It removes nothing from a backup that cannot be read.
//
// u is the upkeep of the backup, which the caller has begun.
func Retain(ctx context.Context, f *repository.Found, u *repository.Upkeep, o RetainOptions) (RetainResult, error) {
	r := newRetainer(f, u, o)
	if u != nil {
		held, end := during(ctx, u)
		defer end()
		ctx = held
	}
	if err := r.run(ctx); err != nil {
		return r.done, fmt.Errorf("retention of %s: %w", f.Name(), r.explained(ctx, err))
	}
	return r.done, nil
}

// RetainDue reports whether Retain may have anything to do. It lists the backup, unless it was just
// listed with others, and reads the first commit, unless an earlier run has.
func RetainDue(ctx context.Context, f *repository.Found, o RetainOptions) (bool, error) {
	if o.Keep <= 0 {
		return false, nil
	}
	r := newRetainer(f.Listed(), nil, o)
	err := r.list(ctx)
	if err != nil || len(r.have.log) == 0 || r.quiet(r.o.Lock.Now()) {
		return false, err
	}
	made, known := f.FirstMade(r.have.first)
	if !known {
		if made, err = r.firstMade(ctx); err != nil {
			return false, fmt.Errorf("retention of %s: %w", f.Name(), err)
		}
		if !made.After(r.o.Lock.Now()) { // a time in the future is not believed for long
			f.RememberMade(r.have.first, made)
		}
	}
	return !made.After(r.o.Lock.Now().Add(-r.o.Keep)), nil
}

func newRetainer(f *repository.Found, u *repository.Upkeep, o RetainOptions) *retainer {
	o.Lock.SetDefaults()
	o.Keep = keepAtLeast(o.Keep, o.LogMinAge)
	r := &retainer{f: f, o: o, upkeep: u, objects: history.NewObjects(f.Partition.Store, 0)}
	r.store = guarded{f.Partition.Store, r.mayChange}
	return r
}

// keepAtLeast keeps what must not be removed from a log anyway.
func keepAtLeast(keep, least time.Duration) time.Duration {
	if keep <= 0 {
		return 0
	}
	return max(keep, least)
}

// retainer is one run of Retain.
type retainer struct {
	f       *repository.Found
	o       RetainOptions
	upkeep  *repository.Upkeep
	store   guarded
	objects *history.Objects
	done    RetainResult

	now   time.Time // of the store
	limit time.Time // every moment from here on is kept
	have  listing
	base  uint64 // the checkpoint before the log, or 0
	cut   history.Kept
	stay  map[uint64]bool // checkpoints up to the cut that are kept
	// needed are the objects with blocks that a checkpoint names.
	needed map[blocksID]bool
	bodies packedBodies // of the large commit that was folded last
	forget bool         // for an erasure: everything before limit goes, whatever the policy

	cutting, moving func(context.Context) error                 // of ForgetOptions
	packing         func(ctx context.Context, key string) error // of MergeOptions
	cutBegun        bool                                        // cutting was called
	found           func(context.Context, *StaleBlocks) error   // of ForgetOptions
	stale           *StaleBlocks                                // of ForgetOptions, or what it has found
	sweeps          bool                                        // for Sweep
	since           time.Time                                   // of ForgetOptions

	messages    *Messages // of ForgetOptions
	mergeBefore time.Time // of MergeOptions
	redact      redaction // of these messages
	recordedAt  time.Time // of done.Commit
}

func (r *retainer) run(ctx context.Context) error {
	if r.o.Keep <= 0 {
		return nil
	}
	if r.f.Aside != "" {
		return fmt.Errorf("%s: %w", r.f.Aside, repository.ErrAside)
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	if due, err := r.due(ctx); err != nil || !due {
		return err
	}
	if err := r.plan(ctx); err != nil {
		return err
	}
	if r.o.DryRun {
		return r.preview(ctx)
	}
	if r.o.Before != nil {
		if err := r.o.Before(ctx, r.f); err != nil {
			return err
		}
	}
	if r.cut.Number > 0 {
		if err := r.fold(ctx); err != nil {
			return err
		}
		if err := r.findNeeded(ctx); err != nil {
			return err
		}
	}
	recorded, err := r.record(ctx)
	switch {
	case err != nil:
		return err
	case r.cut.Number == 0:
		return r.sweep(ctx)
	case !recorded:
		return nil
	}
	return r.remove(ctx)
}

// due reports whether there may be anything to do, and sets the clock.
func (r *retainer) due(ctx context.Context) (bool, error) {
	if len(r.have.log) == 0 {
		return false, nil
	}
	first := r.have.log[0].from
	made, err := r.firstMade(ctx)
	if err != nil {
		return false, err
	}
	if made.After(r.o.Lock.Now().Add(-r.o.Keep)) {
		return false, nil
	}
	if r.now, err = r.storeNow(ctx); err != nil {
		return false, err
	}
	if last, ok := r.have.checkpoint(first - 1); ok && r.now.Sub(last.modified) < retainEvery {
		return false, nil
	}
	// Tombstones have the time of their commit in whole seconds.
	r.limit = r.now.Add(-r.o.Keep).UTC().Truncate(time.Second)
	return made.Before(r.limit), nil
}

func (r *retainer) storeNow(ctx context.Context) (time.Time, error) {
	return storeclock.Certain(ctx, r.store, repository.BackupInfoKey(r.f.Path), r.o.Lock.Now, time.Time{})
}

// firstMade returns when the first commit in the list was made; zero if it is in an object that does
// not belong to the log, which plan reports.
func (r *retainer) firstMade(ctx context.Context) (time.Time, error) {
	at, err := r.madeAt(ctx, r.have.log[0].from)
	if errors.Is(err, history.ErrAbsent) {
		err = nil
	}
	return at, err
}

// madeAt returns when a commit was made.
func (r *retainer) madeAt(ctx context.Context, n uint64) (at time.Time, err error) {
	for c, err := range r.f.Log().Commits(ctx, n, n) {
		if err != nil {
			return at, err
		}
		at, _, err = r.f.Log().Made(ctx, c.Header(), r.o.Lock.Now())
		return at, err
	}
	return at, nil
}

// plan chooses the moments to keep, and the cut.
func (r *retainer) plan(ctx context.Context) error {
	if err := r.sound(ctx); err != nil {
		return err
	}
	ends, err := r.survey(ctx)
	if err != nil || r.cut.Number == 0 {
		return err
	}
	moments := append(ends, r.cut)
	if r.o.Daily+r.o.Weekly+r.o.Monthly+r.o.Yearly > 0 {
		older, err := r.olderMoments(ctx)
		if err != nil {
			return err
		}
		moments = append(moments, older...)
	}
	r.done.Kept = r.o.choose(moments)
	r.stay = map[uint64]bool{r.cut.Number: true}
	for _, k := range r.done.Kept {
		r.stay[k.Number] = true
	}
	return nil
}

// sound returns an error if the log cannot be folded, and finds the base.
func (r *retainer) sound(ctx context.Context) error {
	if err := r.notSealed(ctx); err != nil {
		return err
	}
	outline, err := r.log().Outline(ctx)
	if err == nil && outline.Doubtful {
		err = r.contradiction(ctx)
	}
	if err != nil {
		return err
	}
	return r.unbroken(ctx)
}

// unbroken finds the base, and returns an error if a commit after it is missing.
func (r *retainer) unbroken(ctx context.Context) (err error) {
	if r.base, err = r.findBase(ctx); err != nil {
		return err
	}
	if n := r.have.hole(r.base + 1); n > 0 {
		return fmt.Errorf("commit %d: %w: run ctl_backups verify", n, history.ErrAbsent)
	}
	return nil
}

// contradiction returns an error that names an object of the log which readers ignore. The merge of a
// later night removes it.
func (r *retainer) contradiction(ctx context.Context) error {
	const what = "objects in its log contradict each other"
	odd, err := r.log().Odd(ctx)
	switch {
	case err != nil:
		return err
	case len(odd) == 0:
		return errors.New(what + ": run compact again when they are older than backup_log_min_age")
	}
	return fmt.Errorf("%s: %s: %s: compact removes it when it is older than backup_log_min_age, and retention continues then", what, odd[0].Key, odd[0].Reason)
}

// notSealed returns an error if the log continues in another repository, or nowhere.
func (r *retainer) notSealed(ctx context.Context) error {
	tip, err := r.f.OpenTip(ctx, r.have.newest)
	if err == nil && tip.Hash == "" {
		err = fmt.Errorf("commit %d, the newest, is unreadable: run ctl_backups verify", tip.Number)
	}
	return err
}

// findBase returns the checkpoint from which the log can be folded. An earlier run has proven it.
func (r *retainer) findBase(ctx context.Context) (uint64, error) {
	first := r.have.log[0].from
	if first == 1 {
		return 0, nil
	}
	if _, ok := r.have.checkpoint(first - 1); ok {
		return first - 1, nil
	}
	// A run was interrupted while it removed the log. It had put its commit, and removed the
	// checkpoints between the former base and its cut.
	retained, err := r.f.Log().Retained(ctx, first, r.have.newest)
	if err != nil {
		return 0, err
	}
	for _, c := range r.have.checkpoints {
		if retained && c.number >= first {
			return c.number, nil
		}
	}
	return 0, fmt.Errorf("the log begins with commit %d, and nothing shows that retention removed earlier ones: %w: run ctl_backups verify", first, history.ErrAbsent)
}

// olderMoments returns the checkpoints up to the base, with the times of their commits.
func (r *retainer) olderMoments(ctx context.Context) (out []history.Kept, err error) {
	for _, c := range r.have.checkpoints {
		if c.number > r.base {
			break
		}
		m, err := history.Resume(ctx, r.store, r.f.Path, c.number, r.now)
		if err != nil {
			return nil, err
		}
		out = append(out, history.Kept{Number: c.number, Time: m.Time()})
		if err := m.Close(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
