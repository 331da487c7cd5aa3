package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A log with unreadable commits continues after a bridge. A bridge is a commit that names
// the lost commits. Its number follows the highest one in the log. It puts every mailbox into
// resync, and the source sends each mailbox whole (docs/format.md 3.1). A hole in the log is
// never filled.

// bridge puts a commit that names the lost commits. The index already holds everything that
// can be read. The caller holds the commit mutex.
func (b *Backup) bridge(ctx context.Context, lost []history.LostRange) error {
	ended, err := b.ended(ctx)
	if err != nil || ended {
		return err // no commit can follow here; readers still report the loss
	}
	if err := b.checkLock(ctx); err != nil {
		return err
	}
	e := &history.BridgedEvent{Lost: lost}
	b.set.log.Error("the log of this backup has lost commits: it goes on without them, and the source is asked for every mailbox at its next sync. "+
		"ctl_backups verify lists the damage", "backup", b.path, "partition", b.part.name, "lost", fmt.Sprint(lost))
	bld := history.NewBuilder(history.Header{}, b.set.opt.Pack)
	if err := bld.Event(e); err != nil {
		return err
	}
	if err := b.noteLostCommits(lost); err != nil {
		return err
	}
	b.proven() // the log was just listed, and its last commit may be unreadable
	err = b.commit(ctx, Author{Connection: "bridge", Client: b.set.opt.Host}, bld, func() error {
		return fmt.Errorf("another writer was faster: %w", cyrus.ErrLocked)
	})
	if err != nil {
		return fmt.Errorf("bridge the lost commits: %w", err)
	}
	return nil
}

// marksAtOnce bounds the losses marked in one transaction.
const marksAtOnce = 1024

// noteLostCommits marks the objects of the lost commits that the checkpoint covers, because
// the checkpoint may contain messages whose bodies were in these objects. Opening the backup
// heals it. The messages of later commits are unknown.
func (b *Backup) noteLostCommits(lost []history.LostRange) error {
	var marks []loss
	flush := func() error {
		_, err := b.part.noteLost(marks, false)
		marks = marks[:0]
		return err
	}
	for _, r := range lost {
		how := byte(lossDamaged)
		if r.Reason == history.LostMissing {
			how = lossAbsent
		}
		for n := r.From; n <= min(r.To, b.entry.Checkpoint); n++ {
			marks = append(marks, loss{object: objectID(history.LogKey(b.path, n)), how: how})
			if len(marks) < marksAtOnce {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
