package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// foldAgain is how long no checkpoint is attempted after damage in the log prevented one.
// Without this pause, each further commit would read the log again.
const foldAgain = time.Hour

// foldTime is how long a checkpoint may take. It is far below the day that retention leaves the
// blocks of a removed checkpoint.
const foldTime = 12 * time.Hour

// checkpointDue requests a checkpoint if the log after the last one is long enough. The
// caller holds the commit mutex. The checkpoint is written in the background. Nothing waits
// for it, since a log without checkpoints is only slower to read.
func (s *Set) checkpointDue(b *Backup) {
	since := int(b.entry.Number - b.entry.Checkpoint)
	if history.Due(since, s.opt.CheckpointObject, b.entry.LogBytes, b.entry.CheckpointBytes) {
		s.wantCheckpoint(b)
	}
}

// wantCheckpoint requests a checkpoint now. The caller holds the commit mutex.
func (s *Set) wantCheckpoint(b *Backup) {
	if s.opt.NoCheckpoints {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending || s.opt.Now().Sub(b.unfolded) < foldAgain {
		return
	}
	select {
	case s.checkpoints <- b:
		b.pending = true
	default: // the queue is full; the next commit requests it again
	}
}

// writeCheckpoints writes the requested checkpoints one after another.
func (s *Set) writeCheckpoints() {
	for {
		select {
		case <-s.life.Done():
			return
		case b := <-s.checkpoints:
			err := b.writeCheckpoint(s.life)
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errForgotten) { // the latter was erased
				s.log.Warn("a checkpoint could not be written; the log is complete without it", "backup", b.path, "err", err)
			}
			b.mu.Lock()
			b.pending = false
			if history.IsUnreadable(err) {
				b.unfolded = s.opt.Now()
			}
			b.mu.Unlock()
		}
	}
}

// writeCheckpoint writes the state of the log in the bucket as a checkpoint.
func (b *Backup) writeCheckpoint(ctx context.Context) error {
	if err := b.Begin(ctx); err != nil {
		return err
	}
	if b.entry == nil {
		b.End()
		return nil // its index is being rebuilt, or the backup is gone
	}
	number, last, part := b.entry.Number, b.entry.Checkpoint, b.part
	b.End()
	began := b.set.opt.Now()
	m, err := part.fold(ctx, b.path, last, number)
	if history.IsUnreadable(err) {
		return errors.Join(err, b.logDamaged(ctx, number, err))
	}
	if err != nil {
		return err
	}
	defer m.Close()
	written, err := part.putCheckpoint(ctx, m, began)
	if err != nil {
		return err
	}
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	if b.entry == nil || b.part != part || b.entry.Checkpoint >= number {
		return nil
	}
	b.entry.Checkpoint, b.entry.CheckpointBytes, b.entry.LogBytes = number, written.Bytes, 0
	b.entry.Own.Bytes += written.Bytes
	return b.saveEntry()
}

// putCheckpoint puts a checkpoint. Retention may have removed blocks of the checkpoint that m was
// folded from, and blocks that m has put, but not within a day.
func (p *Partition) putCheckpoint(ctx context.Context, m *history.Mem, began time.Time) (history.Checkpoint, error) {
	if !p.Conditional() { // then nobody can compact the backup either
		return m.WriteCheckpoint(ctx, p.set.opt.Pack)
	}
	return m.AddCheckpoint(ctx, p.set.opt.Pack, func() error {
		if took := apart(began, p.set.opt.Now()); took > foldTime {
			return fmt.Errorf("it took %s: the host has perhaps slept", took)
		}
		return nil
	})
}

// logDamaged makes the next command rebuild the index of the backup, which bridges the loss.
func (b *Backup) logDamaged(ctx context.Context, number uint64, err error) error {
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	if b.entry != nil && b.entry.Number >= number {
		b.divergedLater(err)
	}
	return nil
}

// fold computes the state as of commit number from a checkpoint (0 = from the first commit)
// and the log after it. The caller knows the checkpoint from the index, which saves a LIST.
// If the checkpoint is unreadable, fold looks for the newest readable one.
func (p *Partition) fold(ctx context.Context, path string, checkpoint, number uint64) (*history.Mem, error) {
	m, err := p.foldFrom(ctx, path, checkpoint, number)
	if history.IsUnreadable(err) {
		m, err = history.Load(ctx, p.store, path, history.Moment{Number: number})
	}
	if history.IsUnreadable(err) { // in the blocks of the checkpoint
		p.set.log.Error("a part of a checkpoint is damaged; the next one is made of the whole log. ctl_backups verify --repair replaces it", "backup", path, "err", err)
		m, err = history.Load(ctx, p.store, path, history.Moment{Number: number, FromLog: true})
	}
	if err != nil {
		return nil, err
	}
	for _, d := range m.Skipped() {
		p.set.log.Error("a checkpoint is damaged; the next one is made of an older one and the log. ctl_backups verify --repair replaces it",
			"backup", path, "object", d.Object, "err", d.Err)
	}
	return m, nil
}

func (p *Partition) foldFrom(ctx context.Context, path string, checkpoint, number uint64) (m *history.Mem, err error) {
	if checkpoint == 0 {
		m, err = history.NewMem(ctx, p.store, path)
	} else {
		m, err = history.ReadCheckpoint(ctx, p.store, path, checkpoint)
	}
	if err != nil {
		return nil, err
	}
	log := history.Log{Store: p.store, Backup: path}
	for c, err := range log.CommitsAfter(ctx, m.Tip(), number) {
		if err == nil {
			err = m.Apply(c)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}
