package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// loadLife returns the state at the end of the life that --life selects. newest is the newest
// state; loadLife closes it if it returns another one.
func (o *options) loadLife(ctx context.Context, found *repository.Found, newest *history.Mem, at history.Moment) (*history.Mem, error) {
	if o.life == 0 {
		return newest, nil
	}
	lives := history.Lives{{Number: 1}}
	if found.Info.Kind == repository.KindUser {
		var err error
		if lives, err = history.LivesOf(newest); err != nil {
			return nil, errors.Join(err, newest.Close())
		}
	}
	last, ok := lives.Last(o.life)
	switch {
	case !ok:
		return nil, errors.Join(newest.Close(), cli.Usagef("--life %d: the backup of %s has %s (cyr_backup %s list mailboxes shows them)", o.life, o.backup,
			english.Plural(len(lives), "life", "lives"), o.backup))
	case last == 0:
		return newest, nil
	}
	if err := newest.Close(); err != nil {
		return nil, fmt.Errorf("close the state of %s: %w", o.backup, err)
	}
	o.selection.NextLife = lives.Began(o.life + 1)
	h, err := found.Log().Header(ctx, last+1)
	if err == nil { // otherwise the commit is damaged: use the mail server's clock
		o.selection.NextLife = h.Time
	}
	at.Number = last
	return found.Load(ctx, at)
}

// reportFormerLives reports that another user had the name before, and is not restored.
func (j *job) reportFormerLives() error {
	lives, err := j.src.Lives()
	if err != nil || len(lives) < 2 || j.life > 0 || !j.selection.All || !j.newest() {
		return err
	}
	was := lives[len(lives)-2]
	j.note("the name %s belongs to another user since %s; --life %d restores the user who had it before", j.backup, timespec.Text(lives.Newest().Began), was.Number)
	return nil
}
