package verify

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Of a log that has lost its beginning, or all, a checkpoint alone would look sound.

// unwritten is how old a backup may be that has no commit: backup.json is put just before
// the first one.
const unwritten = time.Hour

// noLog looks at a backup without commits: it was just made, unless a checkpoint or its age
// tell otherwise.
func (w *verifier) noLog() error {
	numbers, err := w.f.Log().Checkpoints(w.ctx)
	if age := time.Since(w.f.Info.Created); err == nil && len(numbers) == 0 && age > unwritten {
		w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: fmt.Sprintf(
			"there is no commit, and no checkpoint: the log was lost, or a daemon was stopped when it made the backup %s. The next sync_client -u fills it; ctl_backups set-aside puts it out of the way",
			english.Plural(int(age.Hours()), "hour", "")+" ago")})
	}
	if err == nil && len(numbers) > 0 {
		w.diagnosis.log = append(w.diagnosis.log, history.LostRange{From: 1, To: numbers[0], Reason: lostMissing})
		w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: fmt.Sprintf("no commit is left; the newest checkpoint is of commit %d", numbers[0])})
	}
	return err
}

// given sees that what came before the first commit was given up by retention, which says
// so in the log before it removes anything.
func (c *chain) given(first uint64) error {
	w := c.w
	for r, err := range w.f.Log().Commits(w.ctx, first, c.newest) {
		var told bool
		if err == nil {
			told, err = tellsOf(r, first-1)
		}
		if told || err != nil && !history.IsDamage(err) {
			return err
		}
		if err != nil {
			break // follow tells of it
		}
	}
	w.log.add(1, first-1, history.LogKey(w.f.Path, first-1),
		fmt.Errorf("the log begins with commit %d, and no retained event in it says that those before were given up: %w", first, history.ErrAbsent))
	return nil
}

// tellsOf says whether a commit notes that those up to a number were removed.
func tellsOf(r *history.CommitReader, number uint64) (bool, error) {
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
