package partitions

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Owe records that the client has to compare a whole backup with GET USER.
func (s *Set) Owe(n repository.Name) error {
	return s.index.Update(func(t *index.Txn) error {
		if err := s.mayOwe(t, n.Path()); err != nil {
			return err
		}
		return setJSON(t, index.OwedKey(n.Path()), s.opt.Now())
	})
}

// mayOwe returns an error if no partition has the backup, and many backups owe something.
func (s *Set) mayOwe(t *index.Txn, path string) error {
	pages, err := s.pages(t)
	if err != nil {
		return err
	}
	if there, err := hadAny(t, pages, path); there || err != nil {
		return err
	}
	owing := 0
	for _, err := range t.Keys(index.OwedPrefix(), nil, owedMost) {
		if err != nil {
			return err
		}
		owing++
	}
	if owing < owedMost {
		return nil
	}
	if there, err := t.Has(index.OwedKey(path)); there || err != nil {
		return err
	}
	return fmt.Errorf("no partition has the backup, and %d others wait for a comparison", owing)
}

// Owes reports whether Owe was called and Settle has not been called since.
func (s *Set) Owes(n repository.Name) (bool, error) {
	err := s.index.View(func(t *index.Txn) error {
		_, err := t.Get(index.OwedKey(n.Path()))
		return err
	})
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Settle records that the client is comparing the whole backup.
func (s *Set) Settle(n repository.Name) error {
	if owes, err := s.Owes(n); !owes || err != nil {
		return err
	}
	return s.index.Update(func(t *index.Txn) error { return t.Delete(index.OwedKey(n.Path())) })
}
