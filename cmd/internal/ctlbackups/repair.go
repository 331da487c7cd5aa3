package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// repair verifies backups, and repairs the damage that can be repaired in the bucket.
func repair(c *command) (err error) {
	parts := c.bucket.Partitions
	if c.dryRun {
		dry, end, err := dryPartitions(parts)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
		parts = dry
		c.bucket.Partitions = dry
	}
	failed := c.repairRepositories(parts)
	err = c.eachOf(c.toRepair(), func(f *repository.Found) error { return c.repairOne(f, parts) })
	if err == nil && failed {
		return cli.ErrReported
	}
	return err
}

// repairRepositories restores the files that belong to whole partitions.
func (c *command) repairRepositories(parts []repository.Config) (failed bool) {
	for _, p := range parts {
		done, err := verify.RepairRepository(c.ctx, p, parts, verify.RepositoryOptions{
			Software: version.Software(), DedupPerBackup: c.bucket.Conf.Word("backup_dedup") == "backup", Now: c.clock,
		})
		if err != nil {
			cli.Fprintf(c.err, "ctl_backups: %v\n", err)
			failed = true
		}
		if done != "" {
			cli.Fprintf(c.err, "ctl_backups: partition %s: %s\n", p.Name, c.would(done))
		}
	}
	return failed
}

func (c *command) would(what string) string {
	if c.dryRun {
		return "(dry run) " + what
	}
	return what
}

// toRepair returns the chosen backups, including backups with an unusable backup.json.
func (c *command) toRepair() iter.Seq2[*repository.Found, error] {
	if !c.many() {
		return c.alive(c.remains())
	}
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range c.browsed() {
			if f != nil && c.ctx.Err() == nil && (err != nil || f.Name().Path() != f.Path) {
				f, err = c.broken(f, err)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// broken returns a backup that was listed but could not be opened.
func (c *command) broken(f *repository.Found, err error) (*repository.Found, error) {
	n, ok := repository.NameOf(f.Path)
	if !ok {
		return f, err
	}
	list, rerr := repository.Remains(c.ctx, []repository.Config{f.Partition}, n)
	if rerr != nil || len(list) == 0 {
		return f, errors.Join(err, rerr)
	}
	return list[0], nil
}

// alive skips stale copies that a move has left, if it is clear which copy is stale.
func (c *command) alive(all func(func(*repository.Found, error) bool)) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range all {
			if err == nil {
				if at, ferr := repository.Find(c.ctx, c.bucket.Partitions, f.Name()); ferr == nil && c.single() != cli.ByPath && at.Partition.Name != f.Partition.Name {
					continue
				}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (c *command) repairOne(f *repository.Found, parts []repository.Config) error {
	if err := inPlace("verify --repair", f); err != nil {
		return err
	}
	var report []verify.Change
	done, err := verify.Repair(c.ctx, f, verify.RepairOptions{
		Lock: c.lockOptions("verify --repair"), Others: parts,
		Replacing: func(ctx context.Context, lease *repository.Upkeep, old, now string) error {
			return erasure.Replaces(ctx, f.Partition, lease, old, now, func(err error) {
				cli.Fprintf(c.err, "ctl_backups: %v\n", err)
			})
		},
		Problem: func(p verify.Problem) { c.problem(f, p) },
		Report: func(r verify.Change) {
			report = append(report, r)
			if !c.structured() {
				cli.Fprintf(c.out, "%s: %s\n", label(f), c.would(r.String()))
			}
		},
		Step: c.stepper(f),
	})
	if err != nil {
		if perr := c.repairStatus(f, done, report, err.Error(), err); perr != nil {
			return perr
		}
		return errors.Join(cli.ErrReported, c.ctx.Err())
	}
	word, failed := c.resultOf(done)
	if perr := c.repairStatus(f, done, report, word, nil); perr != nil || !failed {
		return perr
	}
	return cli.ErrReported
}

// resultOf describes the result of a repair.
func (c *command) resultOf(done verify.RepairResult) (word string, failed bool) {
	switch {
	case done.Found == 0:
		return "ok", false
	case done.Left.Damaged > 0:
		return fmt.Sprintf("failed (%s left)", objects(int64(done.Left.Damaged), "problem")), true
	case c.dryRun:
		return fmt.Sprintf("can be repaired (%s)", objects(int64(done.Found), "problem")), true
	}
	return "repaired", false
}

// repairStatus prints the result for one backup, and the command for the rest of the repair.
func (c *command) repairStatus(f *repository.Found, done verify.RepairResult, report []verify.Change, word string, err error) error {
	waits := done.Outcomes[verify.Waits] > 0 || done.Aside != ""
	if err != nil {
		if perr := c.status("verify", f, err); perr != nil || !waits {
			return perr
		}
	}
	next := ""
	if waits && f.Info.Kind == repository.KindUser {
		next = "sync_client -n backup -v -u " + f.Info.Name
	} else if waits {
		next = "sync_client -n backup -v -m for its mailboxes"
	}
	if !c.structured() {
		if err == nil {
			if _, err := cli.Fprintf(c.out, "verify %s: %s\n", label(f), word); err != nil {
				return err
			}
		}
		if next != "" {
			_, err := cli.Fprintf(c.out, "  the next sync repairs the rest; on the mail server: %s\n", next)
			return err
		}
		return nil
	}
	return c.object(struct {
		Command string          `json:"command"`
		UserID  string          `json:"userid,omitempty"`
		Path    string          `json:"fname"`
		Status  string          `json:"status"`
		Report  []verify.Change `json:"repairs,omitempty"`
		Next    string          `json:"next,omitempty"` // command for the mail server
	}{"verify", userID(f), place(f), word, report, next})
}
