package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// A checkpoint alone would look sound if the log has lost its beginning, or everything.

// newBackup is the maximum age of a backup without a commit. backup.json is written just
// before the first commit.
const newBackup = time.Hour

// noLog checks a backup without commits. It is new if it has no checkpoint and is young.
func (w *verifier) noLog() error {
	numbers, err := w.f.Log().Checkpoints(w.ctx)
	if age := time.Since(w.f.Info.Created); err == nil && len(numbers) == 0 && age > newBackup {
		w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: fmt.Sprintf(
			"no commit and no checkpoint exists: the log was lost, or backupd was stopped while it created the backup %s. Run sync_client -u to fill the backup, or ctl_backups set-aside to start a new one",
			english.Plural(int(age.Hours()), "hour", "")+" ago")})
	}
	if err == nil && len(numbers) > 0 {
		w.diagnosis.log = append(w.diagnosis.log, history.LostRange{From: 1, To: numbers[0], Reason: lostMissing})
		w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: fmt.Sprintf("all commits are missing; the newest checkpoint is of commit %d", numbers[0])})
	}
	return err
}

// checkRetained checks that retention has removed the commits before the first one.
// Retention records that in the log before it removes anything. If that commit may be among
// the damaged ones, the checkpoint that retention leaves is enough, as it is for readers.
func (c *chain) checkRetained(first uint64) error {
	w := c.w
	damaged := false
	for r, err := range w.f.Log().Readable(w.ctx, history.Tip{Number: first - 1}, c.newest) {
		var recorded bool
		if err == nil {
			recorded, err = recordsRemoval(r, first-1)
		}
		if recorded || err != nil && !history.IsDamage(err) {
			return err
		}
		damaged = damaged || err != nil // follow reports it
	}
	if damaged && slices.Contains(c.checkpoints, first-1) {
		return nil
	}
	w.log.add(1, first-1, history.LogKey(w.f.Path, first-1),
		fmt.Errorf("the log begins with commit %d, and no retained event records that earlier commits were removed: %w", first, history.ErrAbsent))
	return nil
}

// recordsRemoval reports whether a commit records that all commits up to a number were
// removed.
func recordsRemoval(r *history.CommitReader, number uint64) (bool, error) {
	for e, err := range r.Events() {
		if err != nil {
			return false, err
		}
		if e, ok := e.(*history.RetainedEvent); ok && e.To >= number {
			return true, nil
		}
	}
	return false, nil
}
