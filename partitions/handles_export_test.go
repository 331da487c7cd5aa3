package partitions

import (
	"context"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Handles returns the number of backups with a handle.
func (s *Set) Handles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.backups)
}

// Backup returns the handle for a name without a use.
func (s *Set) Backup(n repository.Name) *Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handle(n)
}

// Census looks for all backups, and waits for the end.
func (s *Set) Census(ctx context.Context) error { return s.census(ctx) }

// ContactsInMemory returns the number of backups and names that have a contact in memory.
func (s *Set) ContactsInMemory() int {
	s.contacts.mu.Lock()
	defer s.contacts.mu.Unlock()
	return len(s.contacts.backups)
}
