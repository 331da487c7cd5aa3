package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// errOtherHistory reports that the log in the bucket does not continue the index.
var errOtherHistory = errors.New("the log in the bucket has diverged from the index")

// restart rebuilds the index of the backup after the bucket was found to differ from it. The
// bucket is right. If the bucket lacks a commit that it once held, it was restored to an older
// state and may lack packs too. Nothing in the index about the whole partition is then trusted
// any longer.
func (b *Backup) restart(ctx context.Context, why error) error {
	if b.entry == nil {
		return fmt.Errorf("the backup changed while its index was made: %w: %w", cyrus.ErrLocked, why)
	}
	b.set.log.Warn("the index of this backup is made again from the bucket", "backup", b.path, "err", why)
	was := *b.entry
	if err := b.drop(); err != nil {
		return err
	}
	b.part.forgetRepository()
	if err := b.find(ctx); err != nil {
		return err
	}
	if b.entry != nil {
		same, err := b.continues(ctx, was)
		if same || err != nil {
			return err
		}
	}
	p := b.set.partition(was.Partition)
	b.set.log.Error("the bucket lacks commits that were in it: everything that the index knows of its partition is read again",
		"backup", b.path, "partition", was.Partition, "number", was.Number)
	if err := p.invalidate(); err != nil {
		return err
	}
	if b.entry == nil {
		return nil
	}
	return b.rebuild(ctx)
}

// continues reports whether the log still has the commit of an older entry.
func (b *Backup) continues(ctx context.Context, was entry) (bool, error) {
	switch {
	case was.Number == 0:
		return true, nil
	case was.Number > b.entry.Number:
		return false, nil
	case was.Number == b.entry.Number:
		return was.Hash == b.entry.Hash || b.entry.Hash == "", nil
	}
	log := history.Log{Store: b.part.store, Backup: b.path}
	var same bool
	err := await0(ctx, func() error {
		for c, err := range log.Commits(ctx, was.Number+1, was.Number+1) {
			if err != nil {
				return err
			}
			if same, err = follows(c, was.Hash); err != nil {
				return err
			}
		}
		return nil
	})
	if history.IsUnreadable(err) {
		// The commit was removed because of its age, which happens only after 48 h, or the log
		// is damaged there. Neither shows that the bucket went back.
		return true, nil
	}
	return same, err
}

// follows reports whether a commit follows a commit with this hash. A bridge may follow any
// commit.
func follows(c *history.CommitReader, hash string) (bool, error) {
	if c.Header().Prev == hash {
		return true, nil
	}
	for e, err := range c.Events() {
		if err != nil {
			return false, err
		}
		if _, ok := e.(*history.BridgedEvent); ok {
			return true, nil
		}
	}
	return false, nil
}

// divergedLater makes the next command that opens the backup read it from the bucket again.
func (b *Backup) divergedLater(err error) {
	b.damaged = fmt.Errorf("%w: %w", errOtherHistory, err)
}
