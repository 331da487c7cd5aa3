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
		ago := ""
		if !w.f.Info.Created.IsZero() { // else a repair of backup.json did not know
			ago = " " + english.Plural(int(age.Hours()), "hour", "") + " ago"
		}
		w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: fmt.Sprintf(
			"no commit and no checkpoint exists: the log was lost, or backupd was stopped while it created the backup%s. Run sync_client -u to fill the backup, or ctl_backups set-aside to start a new one", ago)})
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
		var to uint64
		if err == nil {
			to, err = recordsRemoval(r, first-1)
		}
		if to > 0 {
			c.checkLeft(first-1, to)
		}
		if to > 0 || err != nil && !history.IsDamage(err) {
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

// checkLeft reports if the checkpoint is missing that retention leaves at the beginning of the log.
// While retention removes the log up to a commit, the checkpoint is that of the commit.
func (c *chain) checkLeft(from, to uint64) {
	if !slices.ContainsFunc(c.checkpoints, func(n uint64) bool { return from <= n && n <= to }) {
		c.w.problem(Problem{Object: history.CheckpointKey(c.w.f.Path, to), Text: history.ErrNoBeginning.Error()})
	}
}

// recordsRemoval returns the last commit whose removal a commit records, if that includes all commits
// up to a number, and otherwise 0.
func recordsRemoval(r *history.CommitReader, number uint64) (uint64, error) {
	for e, err := range r.Events() {
		if err != nil {
			return 0, err
		}
		if e, ok := e.(*history.RetainedEvent); ok && e.To >= number {
			return e.To, nil
		}
	}
	return 0, nil
}
