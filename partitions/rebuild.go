package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// rebuild rebuilds the index of this backup from the bucket alone: from the newest checkpoint
// and the commits after it. part is known, and the caller holds the commit mutex. The entry
// stays marked until the end, so that a partial state does not pass for a complete one. A log
// that is partly unreadable is bridged.
func (b *Backup) rebuild(ctx context.Context) error {
	if err := b.startOver(); err != nil {
		return err
	}
	b.epoch = b.part.epoch.Load()
	lost, err := b.refill(ctx)
	if err == nil && len(lost) > 0 {
		if err = b.bridge(ctx, lost); err == nil {
			b.set.wantCheckpoint(b) // the checkpoint spares the next reader the damage
		}
	}
	if err == nil {
		err = b.findMissing()
	}
	if err == nil {
		b.entry.Rebuilding = false
		err = b.saveEntry()
	}
	if err != nil {
		b.entry = nil // the next command starts again
		return fmt.Errorf("rebuild the index of %s: %w", b.path, err)
	}
	return nil
}

// startOver creates an empty state in the index, marked as being filled.
func (b *Backup) startOver() error {
	b.prunes++ // a checkpoint may contain prune events
	if err := b.drop(); err != nil {
		return err
	}
	return b.newEntry(true, 0)
}

// drop removes the backup from the index.
func (b *Backup) drop() error {
	b.entry = nil
	old, err := b.set.readEntry(b.path)
	if err != nil || old == nil {
		return err
	}
	return b.set.dropBackup(b.path, old.ID)
}

// refill fills the empty state. lost lists the unreadable commits that no bridge names yet.
func (b *Backup) refill(ctx context.Context) (lost []history.LostRange, err error) {
	base, err := b.refillInOneGo(ctx)
	if !history.IsUnreadable(err) {
		if !errors.Is(err, errOtherHistory) {
			return nil, err
		}
		if other, cerr := b.contradicts(ctx, base); cerr != nil || !other {
			return nil, errors.Join(err, cerr)
		}
	}
	b.set.log.Error("a part of the backup in the bucket cannot be read: what can be is read one by one", "backup", b.path, "err", err)
	lost, around := b.refillAround(ctx, false)
	if history.IsUnreadable(around) { // blocks of the checkpoint are damaged
		lost, around = b.refillAround(ctx, true)
	}
	if around != nil {
		return nil, errors.Join(around, err)
	}
	return lost, nil
}

// contradicts reports whether the log shows that the checkpoint below the state, with this tip, is of
// another log, so that the state has to be made without it.
func (b *Backup) contradicts(ctx context.Context, base history.Tip) (bool, error) {
	log := history.Log{Store: b.part.store, Backup: b.path}
	if base.Number == 0 {
		return false, nil
	}
	return await(ctx, func() (bool, error) { return log.Contradicts(ctx, base) })
}

// refillInOneGo imports the newest checkpoint, whose tip is base, and applies the commits after it.
func (b *Backup) refillInOneGo(ctx context.Context) (base history.Tip, err error) {
	if err := b.fromCheckpoint(ctx); err != nil {
		return base, err
	}
	base = history.Tip{Number: b.entry.Number, Hash: b.entry.Hash, Time: b.entry.Time}
	if err := b.applyLog(ctx); err != nil {
		return base, err
	}
	b.listedAt = b.set.opt.Now()
	return base, b.toNewest(ctx)
}

// refillAround imports the readable parts of a damaged backup.
func (b *Backup) refillAround(ctx context.Context, fromLog bool) (lost []history.LostRange, err error) {
	if err := b.startOver(); err != nil {
		return nil, err
	}
	m, err := await(ctx, func() (*history.Mem, error) {
		return history.Load(ctx, b.part.store, b.path, history.Moment{Tolerant: true, FromLog: fromLog})
	})
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	log := history.Log{Store: b.part.store, Backup: b.path}
	if err := await0(ctx, func() error { return log.CheckBeginning(ctx, m) }); err != nil {
		return nil, err // a person may have the checkpoint, and a bridge would replace it for good
	}
	if err := await0(ctx, func() error { return b.importCheckpoint(m) }); err != nil {
		return nil, err
	}
	b.listedAt = b.set.opt.Now()
	gaps := m.Gaps()
	if tip := m.Tip().Number; len(gaps) == 0 && tip == m.Checkpoint().Number {
		// The checkpoint makes it unnecessary to read the commit from which it was made. But
		// while that commit is the newest, every command has to confirm it, which fails if it
		// is damaged.
		if gaps, err = b.damagedTip(ctx, tip); err != nil {
			return nil, err
		}
	}
	for _, g := range gaps {
		if g.Bridged == 0 {
			lost = append(lost, g.Range())
		}
	}
	return lost, nil
}

// damagedTip returns the newest commit as a gap if it cannot be read.
func (b *Backup) damagedTip(ctx context.Context, n uint64) ([]history.Gap, error) {
	log := history.Log{Store: b.part.store, Backup: b.path}
	gap, err := await(ctx, func() (*history.Gap, error) { return log.Unreadable(ctx, n) })
	if gap == nil {
		return nil, err
	}
	return []history.Gap{*gap}, nil
}

// fromCheckpoint imports the newest checkpoint, if there is one.
func (b *Backup) fromCheckpoint(ctx context.Context) error {
	cp, err := await(ctx, func() (*history.Mem, error) {
		return history.LoadCheckpoint(ctx, b.part.store, b.path)
	})
	if errors.Is(err, history.ErrNoCheckpoint) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cp.Close()
	// The blocks are read on demand. The whole import is safe to repeat.
	return await0(ctx, func() error { return b.importCheckpoint(cp) })
}

// applyLog applies the commits after a checkpoint, from single objects and segments.
func (b *Backup) applyLog(ctx context.Context) error {
	log := history.Log{Store: b.part.store, Backup: b.path}
	return await0(ctx, func() error {
		tip := history.Tip{Number: b.entry.Number, Hash: b.entry.Hash, Time: b.entry.Time}
		for c, err := range log.CommitsToEnd(ctx, tip) {
			if err != nil {
				return err
			}
			if err := b.apply(ctx, c, c.Size(), false); err != nil {
				return err
			}
		}
		return nil
	})
}
