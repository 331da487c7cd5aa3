package partitions

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// logPlaces holds the places that the log of a backup names. The log is read once, and only
// for a backup that depends on something lost.
type logPlaces struct {
	m    *history.Mem // nil = the log is damaged or empty
	read bool
}

// of returns the places of a chunk, newest first.
func (l *logPlaces) of(ctx context.Context, b *Backup, c history.ChunkID) ([]history.Place, error) {
	if !l.read {
		m, err := await(ctx, func() (*history.Mem, error) {
			return history.Load(ctx, b.part.store, b.path, history.Moment{Number: b.entry.Number, Tolerant: true})
		})
		if err != nil && !history.IsUnreadable(err) && !errors.Is(err, history.ErrBeforeFirst) && !errors.Is(err, history.ErrNotKept) {
			return nil, err
		}
		l.m, l.read = m, true
	}
	if l.m == nil {
		return nil, nil
	}
	places, err := await(ctx, func() ([]history.Place, error) { return l.m.Places(c) })
	if err != nil && history.IsUnreadable(err) {
		return nil, nil
	}
	return places, err
}

// close releases the places. The next call of of reads the log again.
func (l *logPlaces) close() {
	if l.m != nil {
		_ = l.m.Close()
	}
	*l = logPlaces{}
}
