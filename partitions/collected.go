package partitions

import (
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Collection removes a pack when no backup names it any more, and leaves a note that drops all
// its entries. If it rewrites a pack, the note drops those that no backup names. The index may
// still offer such messages to any backup. That is no loss, and no sign that the bucket was
// restored to an older state.

// split separates the losses of entries that collection has removed from the others.
func split(gone []loss) (collected, others []loss) {
	for _, l := range gone {
		if l.collected != nil {
			collected = append(collected, l)
		} else {
			others = append(others, l)
		}
	}
	return collected, others
}

// forgetCollected removes places of entries that were removed from the index. The client gets
// LOCKED, and is asked for the messages when it tries again.
func (p *Partition) forgetCollected(gone []loss) error {
	p.recent.forget()
	err := p.set.index.UpdateLong(func(t *index.Txn) error {
		for _, l := range gone {
			if err := p.forgetPlace(t, *l.collected); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.set.log.Info("the index knew messages that were removed because no backup needed them", "partition", p.name, "messages", len(gone))
	return fmt.Errorf("partition %s: messages that the index knows were removed, because no backup needed them: %w", p.name, cyrus.ErrLocked)
}

// forgetPlace removes a place from the index, if the index still has it.
func (p *Partition) forgetPlace(t *index.Txn, pl history.Place) error {
	at, ok := parsePlace(pl)
	if !ok {
		return nil
	}
	if at.whole {
		is, known, err := p.wholeAt(t, at.guid, pl.Chunk)
		if err != nil {
			return err
		}
		if known && is == at {
			if err := t.Delete(index.SharedKey(p.name, at.guid[:])); err != nil {
				return err
			}
		}
	}
	is, known, err := p.pieceAt(t, pl.Chunk)
	if err != nil || !known || is != at {
		return err
	}
	return t.Delete(index.ChunkKey(p.name, pl.Chunk[:]))
}
