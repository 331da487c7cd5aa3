package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/prices"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// compactedAtOnce is how many backups share packs, and thus have their leases at a time.
const compactedAtOnce = 32

// errSkipped marks a backup without anything to do. It is no failure.
var errSkipped = errors.New("nothing to do")

// compact merges old commits into segments. Backups share packs, so the result of a backup
// appears when those of some others are complete, too.
func compact(c *command) error {
	level, err := pack.ParseLevel(c.bucket.Conf.Word("backup_compression"))
	if err != nil {
		return err
	}
	if option := c.bucket.Conf.String("backup_prices"); option != "" && c.dryRun {
		if _, err := prices.Parse(option); err != nil {
			return &cli.ConfigError{Err: err}
		}
	}
	k := &compaction{c: c, level: level, parts: map[string]*compactedPartition{}}
	if k.retention, err = newRetention(c, level, "compact"); err != nil {
		return err
	}
	for _, w := range stores.IdleRetention(c.bucket.Conf) {
		cli.Fprintf(c.err, "ctl_backups: warning: %s\n", w)
	}
	if c.timed {
		k.until = time.Now().Add(c.length)
	}
	k.progress = newProgress(c)
	k.record = c.beginRun(repository.RunCompact)
	c.sweepHistories()
	chosen := c.chosen()
	if c.mode == modeAll {
		chosen = c.browsedWith(k.known)
	}
	defer k.close()
	err = c.report(k.results(k.record.counting(chosen)))
	if perr := k.summary(); err == nil {
		err = perr
	}
	if err == nil || !c.stop {
		if cerr := k.collect(); err == nil {
			err = cerr
		}
	}
	if err == nil && c.unswept { // it was reported
		err = cli.ErrReported
	}
	k.progress.end()
	k.record.end(k.late, err)
	if perr := k.price(); err == nil {
		err = perr
	}
	if !c.dryRun {
		c.audit.Done(c.bucket.Conf, "compact", err, "what", c.what(), "backups", k.compacted, "skipped", k.skipped, "held", k.held, "locked", k.locked, "failed", k.failures,
			"commits", k.merged.Commits, "removed", k.merged.Removed, "bytes", k.merged.Bytes,
			"packs_removed", k.reclaimed.Packs, "pack_bytes_removed", k.reclaimed.Bytes,
			"packs_rewritten", k.rewritten.Packs, "pack_bytes_rewritten", k.rewritten.Bytes, "pack_bytes_written", k.written.Bytes)
	}
	return err
}

// compaction is one run of compact.
type compaction struct {
	c       *command
	level   pack.Level
	until   time.Time // when no further backup is begun; zero = never
	parts   map[string]*compactedPartition
	waiting []waitingBackup
	part    *compactedPartition // of waiting
	settled []error             // results that were not sent yet

	retention *retention

	compacted, skipped int
	held               int // on hold, and therefore left alone
	locked, failures   int
	late               bool     // until has passed
	accepted           []string // missing backups, by --accept-missing
	noRoom             bool     // a line has reported that temporary files cannot be written
	merged             maintenance.Merged
	reclaimed          collection.Amount
	rewritten          collection.Amount // packs whose needed entries were copied
	written            collection.Amount // the new packs with these entries
	dry                dryTotals
	progress           *progress
	record             *runRecord
}

// compactedPartition is the work on one partition.
type compactedPartition struct {
	leases *repository.Leases
	merger *maintenance.Merger
	seen   *collection.Seen // what the merger has read; nil if nobody will need it
	before time.Time
	err    error // why nothing can be done there
}

// waitingBackup is a backup whose commits are being merged.
type waitingBackup struct {
	*maintenance.Merged
	retain bool // retention may have something to do
}

// close removes temporary files.
func (k *compaction) close() {
	for _, part := range k.parts {
		if part.seen != nil {
			_ = part.seen.Close()
		}
	}
}

// results yields the result of each backup. It releases every lease.
func (k *compaction) results(backups iter.Seq2[*repository.Found, error]) iter.Seq[error] {
	return func(yield func(error) bool) {
		ended := false
		defer func() {
			if ended {
				k.abandon()
			}
		}()
		send := func(errs []error) bool {
			for _, err := range errs {
				ended = ended || !yield(err)
			}
			return !ended
		}
		for f, err := range backups {
			if k.late = !k.until.IsZero() && time.Now().After(k.until); k.late {
				break
			}
			errs := []error{err}
			if err == nil {
				errs = k.begin(f)
			}
			if !send(append(k.settled, errs...)) {
				return
			}
			k.settled = nil
		}
		send(append(k.settled, k.flush()...))
	}
}

// known opens what the last run has remembered of a partition. What this run remembers is complete
// when the leases are released.
func (k *compaction) known(p repository.Config) *repository.Known {
	known := k.c.known(p)
	if known != nil {
		known.Settle = func() { k.settled = append(k.settled, k.flush()...) }
	}
	return known
}

// begin reads the commits of a backup that can be merged. It returns the results that are complete.
func (k *compaction) begin(f *repository.Found) (results []error) {
	k.progress.at(f)
	if err := inPlace("compact", f); err != nil {
		return []error{err}
	}
	part, err := k.partition(f.Partition)
	if err != nil || part == nil {
		return []error{err}
	}
	if part != k.part {
		results = k.flush()
		k.part = part
	}
	if err := f.CheckHoldsKept(k.c.ctx); err != nil {
		return append(results, k.result(f, nil, err))
	}
	plan, err := maintenance.PlanMerge(k.c.ctx, f, part.before)
	var due bool // by retention
	if err == nil {
		due, err = k.retention.due(f)
	}
	switch {
	case err != nil:
		return append(results, k.result(f, nil, err))
	case k.c.dryRun:
		return append(results, k.planned(f, plan, due))
	case plan.Commits == 0 && !due:
		return append(results, k.result(f, nil, errSkipped))
	}
	u, err := part.leases.Begin(k.c.ctx, f)
	if err != nil {
		return append(results, k.result(f, nil, err))
	}
	k.waiting = append(k.waiting, waitingBackup{part.merger.Add(k.c.ctx, f, u), due})
	if len(k.waiting) >= compactedAtOnce {
		results = append(results, k.flush()...)
	}
	return results
}

// partition returns the work on a partition. It returns an error the first time that nothing
// can be done there, and then nil.
func (k *compaction) partition(p repository.Config) (*compactedPartition, error) {
	if part, ok := k.parts[p.Name]; ok {
		if part.err != nil {
			return nil, cli.ErrReported
		}
		return part, nil
	}
	part := &compactedPartition{leases: repository.NewLeases(p, k.c.lockOptions("compact"))}
	k.parts[p.Name] = part
	repo, err := repository.ReadInfo(k.c.ctx, p.Store)
	var now time.Time
	if err == nil {
		now, err = storeclock.Certain(k.c.ctx, part.leases.Watched(), repository.Key, k.c.hostNow, time.Time{})
	}
	if err != nil {
		part.err = fmt.Errorf("partition %s (%s): %w", p.Name, p.Location, err)
		return nil, part.err
	}
	if k.c.mode == modeAll && !k.c.dryRun {
		// Without it, the collection reads these objects again.
		part.seen, _ = collection.NewSeen()
	}
	conf := k.c.bucket.Conf
	part.before = maintenance.LastDay(now, conf.Duration("backup_log_min_age"))
	part.merger = maintenance.NewMerger(p, maintenance.MergeOptions{
		Pack: pack.Options{Level: k.level}, PackSize: conf.Size("backup_pack_size"), Before: part.before, Private: repo.Dedup == "backup"})
	return part, nil
}

// hostNow returns the time of this host.
func (c *command) hostNow() time.Time {
	if c.clock != nil {
		return c.clock()
	}
	return time.Now()
}

// flush completes the backups that wait, and returns their results.
func (k *compaction) flush() (results []error) {
	jobs := k.waiting
	k.waiting = nil
	if len(jobs) == 0 {
		return nil
	}
	k.progress.step(fmt.Sprintf("merge the commits of %s, up to %s", objects(int64(len(jobs)), "backup"), label(jobs[len(jobs)-1].Found)))
	// An error here is in the result of each backup.
	_ = k.part.merger.Flush(k.c.ctx)
	for _, j := range jobs {
		var retained maintenance.RetainResult
		err := j.Err
		k.note(j.Seen)
		if err == nil && j.retain {
			err = j.Upkeep.CheckHolds(j.Found)
		}
		if err == nil && j.retain {
			k.progress.step("retention of " + label(j.Found))
			retained, err = k.retention.run(j.Found, j.Upkeep)
		}
		err = errors.Join(err, j.Upkeep.End(context.WithoutCancel(k.c.ctx)))
		if err == nil && j.Commits+j.Removed == 0 && !retained.Changed() {
			err = errSkipped
		}
		results = append(results, k.result(j.Found, &work{commits: j.Commits, segments: j.Segments, removed: j.Removed, bytes: j.Bytes, retained: retained}, err))
	}
	return results
}

// note keeps the contents of objects that were read, for the collection. Retention may remove some of
// it. If that fails, for example because the directory for temporary files is full, the collection reads
// these objects again.
func (k *compaction) note(list []maintenance.Seen) {
	part := k.part
	if part.seen == nil {
		return
	}
	slices.SortFunc(list, func(a, b maintenance.Seen) int { return strings.Compare(a.Info.Key, b.Info.Key) })
	for _, s := range list {
		if err := part.seen.Add(s.Info, s.Packs, s.Random); err != nil {
			cli.Fprintf(k.c.err, "ctl_backups: the collection reads again what compact has read, because it cannot be kept in a temporary file: %v\n", err)
			_ = part.seen.Close()
			part.seen = nil
			return
		}
	}
}

// abandon releases the leases of backups that wait.
func (k *compaction) abandon() {
	for _, j := range k.waiting {
		if err := j.Upkeep.End(context.WithoutCancel(k.c.ctx)); err != nil {
			cli.Fprintf(k.c.err, "ctl_backups: %v\n", err)
		}
	}
	k.waiting = nil
}
