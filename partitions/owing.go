package partitions

import (
	"errors"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Owe records that the client has to compare a whole backup with GET USER.
func (s *Set) Owe(n repository.Name) error {
	return s.index.Update(func(t *index.Txn) error { return t.Set(index.OwedKey(n.Path()), nil) })
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
