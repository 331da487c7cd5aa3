package ctlbackups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// collect removes packs that no backup of a partition needs any more. Only a run for all
// backups does it, because the pass reads all of them.
func (k *compaction) collect() error {
	if k.c.mode != modeAll || k.late || k.c.ctx.Err() != nil {
		return k.c.ctx.Err()
	}
	failed := false
	for _, p := range k.c.bucket.Partitions {
		if part := k.parts[p.Name]; part != nil && part.err != nil {
			failed = true // it was reported
			k.record.blocked(p.Name, part.err.Error())
			continue
		}
		k.progress.step("collect packs of partition " + p.Name)
		due, complete := k.c.dueErasures(p)
		failed = failed || !complete
		var seen *collection.Seen
		if part := k.parts[p.Name]; part != nil {
			seen = part.seen
		}
		r, err := k.c.collectPartition(p, due, seen, k.places())
		if k.c.ctx.Err() != nil {
			return k.c.ctx.Err()
		}
		k.reclaimed.Add(r.Removed)
		k.reclaimed.Add(r.Replaced)
		k.rewritten.Add(r.Rewritten)
		k.written.Add(r.Written)
		for _, b := range r.Blocked {
			k.c.blocked(p, b)
			k.record.blocked(p.Name, "no pack is removed because of "+b.Error())
		}
		k.others(p, r)
		for _, b := range r.Kept {
			cli.Fprintf(k.c.err, "ctl_backups: partition %s: %v\n", p.Name, b)
			k.record.blocked(p.Name, b.Error())
		}
		if err != nil {
			cli.Fprintf(k.c.err, "ctl_backups: %v\n", err)
			k.record.blocked(p.Name, err.Error())
		}
		if err == nil && k.c.dryRun {
			if err := k.dry.add(k.c, p, removing(r), r.Removed.Bytes+r.Replaced.Bytes); err != nil {
				return err
			}
		}
		failed = failed || err != nil || r.Blocking+r.Keeping > 0
		if perr := k.collected(p, r, err); perr != nil {
			return perr
		}
		if err != nil || r.Blocking > 0 || k.c.dryRun {
			continue
		}
		done, err := k.c.settleErasures(p, due, r)
		if err != nil {
			return err
		}
		failed = failed || !done
		if done, err = k.relocate(p, r); err != nil {
			return err
		}
		failed = failed || !done
	}
	if k.refuseAccepted() || failed {
		return cli.ErrReported
	}
	return nil
}

// collectOptions are the options of a collection.
func (c *command) collectOptions() (collection.Options, error) {
	level, err := pack.ParseLevel(c.bucket.Conf.Word("backup_compression"))
	return collection.Options{Lock: c.lockOptions("compact"), Cache: c.usesCache(), DryRun: c.dryRun,
		Pack: pack.Options{Level: level}, PackSize: c.bucket.Conf.Size("backup_pack_size")}, err
}

// usesCache returns the directory for the cache of package collection; "" if it cannot be
// made, or is not there and -n must not make it. Without a cache, a pass reads more.
func (c *command) usesCache() string {
	dir := c.usesDir()
	if _, err := os.Stat(dir); err != nil && c.dryRun {
		return ""
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		if c.verbose > 0 {
			cli.Fprintf(c.err, "ctl_backups: collection without a cache: %v\n", err)
		}
		return ""
	}
	return dir
}

// usesDir is where the cache of package collection belongs.
func (c *command) usesDir() string {
	return filepath.Join(c.bucket.Conf.String("configdirectory"), "backup-uses")
}

// known opens what the last run has remembered of a partition; nil if it cannot be remembered.
// Without it, a run reads more.
func (c *command) known(p repository.Config) *repository.Known {
	dir := c.usesCache()
	if dir == "" {
		return nil
	}
	k, err := repository.OpenKnown(dir, p)
	if err != nil {
		return nil
	}
	return k
}

// collected prints the result of a partition.
func (k *compaction) collected(p repository.Config, r *collection.Result, failure error) error {
	c := k.c
	status := "ok"
	switch {
	case errors.Is(failure, repository.ErrUpkeep):
		status = "locked"
	case failure != nil:
		status = "failed"
	case r.Blocking > 0:
		status = "blocked"
	}
	if c.structured() {
		return c.object(struct {
			Command    string            `json:"command"`
			Partition  string            `json:"partition"`
			Status     string            `json:"status"`
			Reason     string            `json:"reason,omitempty"`
			Used       collection.Amount `json:"used"`
			Young      collection.Amount `json:"young"`
			Sparse     collection.Amount `json:"sparse"`
			Condemned  collection.Amount `json:"condemned"`
			Condemning collection.Amount `json:"newly_condemned"`
			Thinning   collection.Amount `json:"newly_sparse"`
			Removed    collection.Amount `json:"removed"`
			Rewritten  collection.Amount `json:"rewritten"`
			Written    collection.Amount `json:"written"`
			Replaced   collection.Amount `json:"replaced"`
			Backups    int               `json:"backups"`
			Read       int               `json:"read"`
			Blocking   int               `json:"blocking"`
			Kept       int               `json:"kept"`
		}{"collect", p.Name, status, reasonOf(r, failure), r.Used, r.Young, r.Sparse, r.Condemned, r.Condemning, r.Thinning, r.Removed, r.Rewritten, r.Written, r.Replaced, r.Backups, r.Read, r.Blocking, r.Keeping})
	}
	if failure != nil {
		_, err := cli.Fprintf(c.out, "collect %s: %s\n", p.Name, status)
		return err
	}
	verb := "removed"
	if c.dryRun {
		verb = "would be removed"
	}
	text := packs(r.Used) + " used"
	if r.Removed.Packs > 0 {
		text += fmt.Sprintf(", %s %s", packs(r.Removed), verb)
	}
	if r.Replaced.Packs > 0 {
		text += fmt.Sprintf(", %s %s after a rewrite", packs(r.Replaced), verb)
	}
	switch {
	case r.Rewritten.Packs == 0:
	case c.dryRun:
		text += fmt.Sprintf(", %s would be rewritten", packs(r.Rewritten))
	default:
		text += fmt.Sprintf(", %s rewritten to %s", packs(r.Rewritten), packs(r.Written))
	}
	if r.Sparse.Packs > 0 {
		text += fmt.Sprintf(", %s mostly dead or small", packs(r.Sparse))
	}
	if later := r.Reclaimable(); later.Packs > 0 {
		text += fmt.Sprintf(", %s to be removed later", packs(later))
	}
	_, err := cli.Fprintf(c.out, "collect %s: %s, %s\n", p.Name, status, text)
	return err
}

// reasonOf returns why a pass has removed nothing; "" = it could.
func reasonOf(r *collection.Result, failure error) string {
	switch {
	case failure != nil:
		return failure.Error()
	case len(r.Blocked) > 0:
		return r.Blocked[0].Error()
	case len(r.Kept) > 0:
		return r.Kept[0].Error()
	}
	return ""
}

func packs(a collection.Amount) string {
	return fmt.Sprintf("%s (%s)", objects(int64(a.Packs), "pack"), binary(a.Bytes))
}
