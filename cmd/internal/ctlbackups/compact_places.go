package ctlbackups

import (
	"context"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// places returns which backups get the places of today in this night; nil = none. Without retention, the
// log names the old places for ever, and nothing removes the former blocks.
func (k *compaction) places() func(path string) bool {
	if k.retention.options.Keep <= 0 || k.c.dryRun {
		return nil
	}
	if k.c.placesNow {
		return func(string) bool { return true }
	}
	now := k.c.hostNow()
	return func(path string) bool { return maintenance.RelocateNight(path, now) }
}

// relocation are the totals of relocate.
type relocation struct {
	Command     string `json:"command"`
	Partition   string `json:"partition"`
	Backups     int    `json:"backups"`
	Checkpoints int    `json:"checkpoints"`
	Places      int    `json:"places"`
	Failed      int    `json:"failed"`
}

// relocate puts the checkpoints of backups again whose places lead to packs that were rewritten. It
// reports whether nothing has failed.
func (k *compaction) relocate(p repository.Config, r *collection.Result) (ok bool, err error) {
	if len(r.Places) == 0 {
		return true, nil
	}
	total := relocation{Command: "relocate", Partition: p.Name}
	leases, moved := repository.NewLeases(p, k.c.lockOptions("compact")), maintenance.NewMoved(p.Store, r.Noted)
	broken := 0 // backups in a row
	for _, path := range r.Places {
		if k.late = !k.until.IsZero() && time.Now().After(k.until); k.late {
			break
		}
		k.progress.step("places of " + path + " in partition " + p.Name)
		done, err := k.relocateOne(p, path, leases, moved)
		if k.c.ctx.Err() != nil {
			return false, k.c.ctx.Err()
		}
		if done.Checkpoints > 0 {
			total.Backups++
		}
		total.Checkpoints += done.Checkpoints
		total.Places += done.Places
		if k.notRelocated(p, err) {
			total.Failed++
		}
		if broken++; !repository.IsStoreError(err) || errors.Is(err, objstore.ErrNotExist) {
			broken = 0
		}
		if broken == mostBroken {
			break
		}
	}
	return total.Failed == 0, k.relocated(total)
}

// mostBroken is after how many backups in a row, for which a request has failed, the others of a partition
// are left to another night.
const mostBroken = 2

// notRelocated reports an error, and whether it is a failure.
func (k *compaction) notRelocated(p repository.Config, err error) bool {
	switch {
	case err == nil, errors.Is(err, repository.ErrOnHold), errors.Is(err, repository.ErrUpkeep), errors.Is(err, repository.ErrNoBackup):
		return false // another night
	case k.noRoomAgain(err):
		return true
	}
	cli.Fprintf(k.c.err, "ctl_backups: partition %s: %v\n", p.Name, err)
	k.record.blocked(p.Name, err.Error())
	return true
}

func (k *compaction) relocateOne(p repository.Config, path string, leases *repository.Leases, moved *maintenance.Moved) (done maintenance.Relocated, err error) {
	f, err := repository.FindPath(k.c.ctx, p, path)
	if err != nil {
		return done, err
	}
	u, err := leases.Begin(k.c.ctx, f)
	if err != nil {
		return done, err
	}
	// The end of an erasure of history removes old blocks, and does not know which of them were replaced lately.
	erasing, err := k.retention.erasing(k.c.ctx, f)
	if err == nil && !erasing {
		done, err = maintenance.Relocate(k.c.ctx, f, u, moved,
			maintenance.RelocateOptions{Lock: k.c.lockOptions("compact"), Pack: pack.Options{Level: k.level}})
	}
	return done, errors.Join(err, u.End(context.WithoutCancel(k.c.ctx)))
}

// relocated prints the totals of a partition, if anything was done.
func (k *compaction) relocated(total relocation) error {
	if total.Checkpoints == 0 && total.Failed == 0 {
		return nil
	}
	if k.c.structured() {
		return k.c.object(total)
	}
	_, err := cli.Fprintf(k.c.out, "places %s: %s of %s put again, with %s in the packs of today\n", total.Partition,
		objects(int64(total.Checkpoints), "checkpoint"), objects(int64(total.Backups), "backup"), objects(int64(total.Places), "place"))
	return err
}
