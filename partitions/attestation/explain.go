package attestation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// absent explains an entry whose backup is not there.
func (j *judge) absent(ctx context.Context, e *Entry) (verdict, error) {
	if e.Number == 0 {
		return verdict{gone: Erased, why: "it had no commit"}, nil
	}
	v, err := j.other(ctx, e, finding(Removed, "the backup was removed; its newest commit was %d (%.16s…)", e.Number, e.Hash))
	if err == nil && v.finding != nil {
		v.gone = Removed
	}
	return v, err
}

// other looks for an explanation of a finding: the backup of the entry was erased or set aside, and another one may be
// in its place.
func (j *judge) other(ctx context.Context, e *Entry, found *Finding) (verdict, error) {
	r, err := j.erased.whole(ctx, j, e.ID)
	if err != nil {
		return verdict{}, err
	}
	if r != "" {
		return verdict{gone: Erased, why: r}, nil
	}
	where, err := j.setAside(ctx, e)
	if err != nil {
		return verdict{}, err
	}
	if where != "" {
		return verdict{gone: Aside, why: "it was set aside: " + where}, nil
	}
	return verdict{finding: found}, nil
}

// setAside returns where a backup was set aside whose log has the commit of the entry; "" = nowhere.
func (j *judge) setAside(ctx context.Context, e *Entry) (string, error) {
	if isAside(e.Backup) {
		return "", nil
	}
	for base, err := range repository.AsidePlaces(ctx, j.p.Store, e.Backup) {
		if err != nil {
			return "", err
		}
		f, err := repository.FindPath(ctx, j.p, base)
		if err != nil {
			if repository.IsStoreError(err) && !errors.Is(err, repository.ErrNoBackup) {
				return "", err
			}
			continue
		}
		s, err := f.Log().Survey(ctx)
		if err != nil {
			return "", err
		}
		if s.Newest < e.Number {
			continue
		}
		hash, err := s.Hash(ctx, e.Number)
		switch {
		case err == nil && hash == e.Hash:
			return base, nil
		case err != nil && !history.IsUnreadable(err):
			return "", err
		}
	}
	return "", nil
}

// historyErased describes the erasure of the history of an entry; "" = none.
func (j *judge) historyErased(ctx context.Context, e *Entry) (string, error) {
	return j.erased.history(ctx, j, e.ID)
}

// erasures are the records of erasures since a list, read once.
type erasures struct {
	mu   sync.Mutex
	read bool
	err  error
	// wholes and histories are descriptions, by the id of the backup.
	wholes, histories map[string]string
}

func (r *erasures) whole(ctx context.Context, j *judge, id string) (string, error) {
	if err := r.load(ctx, j); err != nil || id == "" {
		return "", err
	}
	return r.wholes[id], nil
}

func (r *erasures) history(ctx context.Context, j *judge, id string) (string, error) {
	if err := r.load(ctx, j); err != nil || id == "" {
		return "", err
	}
	return r.histories[id], nil
}

// load reads the records that have changed since the list. A record that cannot be read explains nothing.
func (r *erasures) load(ctx context.Context, j *judge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read {
		return nil
	}
	wholes, histories := map[string]string{}, map[string]string{}
	for e, err := range repository.Erasures(ctx, j.p, j.at.Add(-MinAge)) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return err
		}
		if err != nil || e.State == repository.ErasureBegun {
			continue
		}
		if e.OfMessages() {
			continue // the erasure of messages changes places, which no list names
		}
		of, what := wholes, fmt.Sprintf("it was erased by %s at %s (%s): %s", e.By, shown(e.Since), e.ID, e.Reason)
		if e.OfHistory() {
			of, what = histories, fmt.Sprintf("its history before %s was erased by %s at %s (%s): %s", shown(e.Before), e.By, shown(e.Since), e.ID, e.Reason)
		}
		for _, id := range e.IDs {
			of[id] = what
		}
	}
	r.wholes, r.histories, r.read = wholes, histories, true
	return nil
}
