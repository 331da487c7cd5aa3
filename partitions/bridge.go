package partitions

import (
	"context"
	"errors"
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
	if err != nil {
		return err
	}
	events := []history.Event{&history.BridgedEvent{Lost: lost}}
	if ended {
		seal, err := b.lostSeal(ctx)
		if err != nil || seal == nil {
			return err // no commit can follow here; readers still report the loss
		}
		events = append(events, seal)
	}
	if err := b.checkLock(ctx); err != nil {
		return err
	}
	b.set.log.Error("the log of this backup has lost commits: it goes on without them, and the source is asked for every mailbox at its next sync. "+
		"ctl_backups verify lists the damage", "backup", b.path, "partition", b.part.name, "lost", fmt.Sprint(lost))
	bld := history.NewBuilder(history.Header{}, b.set.opt.Pack)
	for _, e := range events {
		if err := bld.Event(e); err != nil {
			return err
		}
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

// lostSeal returns the seal that was among the lost commits and led back to this partition, or nil.
func (b *Backup) lostSeal(ctx context.Context) (*history.SealedEvent, error) {
	hits, errs := b.set.lookInto(ctx, b.name)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	here := hits.in(b.part)
	if here == nil {
		return nil, nil
	}
	return await(ctx, func() (*history.SealedEvent, error) { return here.LostSeal(ctx, hits) })
}

// Bounds for the marks of lost commits.
const (
	marksAtOnce = 1024
	// mostMarks is far more than a log has between two nights of compact. The length of a
	// hole is a number that anyone who can write to the bucket may choose.
	mostMarks = 64 << 10
)

// noteLostCommits marks the objects of the lost commits that the checkpoint covers, because
// the checkpoint may contain messages whose bodies were in these objects. Opening the backup
// heals it. The messages of later commits are unknown. If a hole is longer than mostMarks,
// every backup of the partition proves what it refers to instead.
func (b *Backup) noteLostCommits(lost []history.LostRange) error {
	left := uint64(mostMarks)
	for _, r := range lost {
		n := coveredBy(b.entry.Checkpoint, r)
		if n > left {
			return b.part.noteInvalid()
		}
		left -= n
	}
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
		for i := range coveredBy(b.entry.Checkpoint, r) {
			marks = append(marks, loss{object: objectID(history.LogKey(b.path, r.From+i)), how: how})
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

// coveredBy returns how many commits of a range a checkpoint covers, but at most mostMarks + 1.
func coveredBy(checkpoint uint64, r history.LostRange) uint64 {
	to := min(r.To, checkpoint)
	if to < r.From {
		return 0
	}
	return min(to-r.From, mostMarks) + 1
}
