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
			continue
		}
		r, err := collection.Collect(k.c.ctx, p, collection.Options{Lock: k.c.lockOptions("compact"), Cache: k.c.usesCache(), DryRun: k.c.dryRun,
			Pack: pack.Options{Level: k.level}, PackSize: k.c.bucket.Conf.Size("backup_pack_size")})
		if k.c.ctx.Err() != nil {
			return k.c.ctx.Err()
		}
		k.reclaimed.Packs += r.Removed.Packs
		k.reclaimed.Bytes += r.Removed.Bytes
		k.rewritten.Packs += r.Rewritten.Packs
		k.rewritten.Bytes += r.Rewritten.Bytes - r.Written.Bytes
		for _, b := range r.Blocked {
			cli.Fprintf(k.c.err, "ctl_backups: partition %s: no pack is removed because of %v\n", p.Name, b)
		}
		for _, b := range r.Kept {
			cli.Fprintf(k.c.err, "ctl_backups: partition %s: %v\n", p.Name, b)
		}
		if err != nil {
			cli.Fprintf(k.c.err, "ctl_backups: %v\n", err)
		}
		failed = failed || err != nil || r.Blocking+r.Keeping > 0
		if err := k.collected(p, r, err); err != nil {
			return err
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// usesCache returns the directory for the cache of package collection; "" if it cannot be
// made. Without a cache, a pass reads more.
func (c *command) usesCache() string {
	dir := filepath.Join(c.bucket.Conf.String("configdirectory"), "backup-uses")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		if c.verbose > 0 {
			cli.Fprintf(c.err, "ctl_backups: collection without a cache: %v\n", err)
		}
		return ""
	}
	return dir
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
			Used       collection.Amount `json:"used"`
			Young      collection.Amount `json:"young"`
			Condemned  collection.Amount `json:"condemned"`
			Condemning collection.Amount `json:"newly_condemned"`
			Removed    collection.Amount `json:"removed"`
			Rewritten  collection.Amount `json:"rewritten"`
			Written    collection.Amount `json:"written"`
			Backups    int               `json:"backups"`
			Read       int               `json:"read"`
			Blocking   int               `json:"blocking"`
			Kept       int               `json:"kept"`
		}{"collect", p.Name, status, r.Used, r.Young, r.Condemned, r.Condemning, r.Removed, r.Rewritten, r.Written, r.Backups, r.Read, r.Blocking, r.Keeping})
	}
	if failure != nil {
		_, err := cli.Fprintf(c.out, "collect %s: %s\n", p.Name, status)
		return err
	}
	verb := "removed"
	if c.dryRun {
		verb = "would be removed"
	}
	rewritten := ""
	if r.Rewritten.Packs > 0 {
		rewritten = fmt.Sprintf(", %s rewritten", k.packs(r.Rewritten))
		if c.dryRun {
			rewritten = fmt.Sprintf(", up to %s would be rewritten", k.packs(r.Rewritten))
		} else {
			rewritten += " to " + k.packs(r.Written)
		}
	}
	_, err := cli.Fprintf(c.out, "collect %s: %s, %s used, %s %s%s, %s will be removed later\n", p.Name, status,
		k.packs(r.Used), k.packs(r.Removed), verb, rewritten, k.packs(r.Reclaimable()))
	return err
}

func (k *compaction) packs(a collection.Amount) string {
	return fmt.Sprintf("%d packs (%s)", a.Packs, k.c.bytes(a.Bytes))
}
