package repository

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// LostSeal returns the seal that has to follow a bridge in this log, or nil. A backup that has moved
// away and back has a seal that names the other repository, and then one with the name of this repository. If
// the commit with the latter is lost, the state shows the former, and no writer would continue the log.
// copies are the copies of the backup in all partitions: they decide whether this one is in use.
func (f *Found) LostSeal(ctx context.Context, copies []*Found) (*history.SealedEvent, error) {
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err != nil {
		return nil, err
	}
	if names, err := f.lostAfterSeal(ctx, repo.ID); err != nil || !names {
		return nil, err
	}
	at, err := Current(ctx, copies)
	if errors.Is(err, ErrHalfMoved) || err == nil && at.Partition.Name != f.Partition.Name {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &history.SealedEvent{Reason: "moved", To: repo.ID}, nil
}

// lostAfterSeal reports whether the newest readable seal names another repository, and commits after it
// are lost.
func (f *Found) lostAfterSeal(ctx context.Context, repo string) (bool, error) {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err != nil {
		return false, err
	}
	defer m.Close()
	i, err := m.Item(history.ItemKey{Kind: history.ItemSealed})
	if i == nil || err != nil {
		return false, err
	}
	if to := i.Event.(*history.SealedEvent).To; to == "" || to == repo {
		return false, nil
	}
	for _, g := range m.Gaps() {
		if g.Bridged == 0 && g.To > i.Commit {
			return true, nil
		}
	}
	return false, nil
}
