package partitions

import (
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// handle returns the handle for a name. There is one usable handle per path: that of a backup that
// exists stays for the life of the process. The caller holds mu.
func (s *Set) handle(n repository.Name) *Backup {
	path := n.Path()
	b := s.backups[path]
	if b == nil {
		n.Full = strings.Clone(n.Full) // it may be a part of something longer
		b = newBackup(s, n)
		s.backups[path] = b
	}
	return b
}

// Use returns the handle for a name. Nobody gets another handle until the caller has called Leave.
func (s *Set) Use(n repository.Name) *Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.handle(n)
	b.users++
	return b
}

// Leave ends Use. It forgets the handle of a backup that does not exist and that nobody else uses, because
// a client may ask for any number of names. Somebody who has the handle without Use gets errForgotten from Begin,
// which is cyrus.ErrLocked.
func (s *Set) Leave(b *Backup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.users--; b.users > 0 {
		return
	}
	select {
	case b.mutex <- struct{}{}:
		defer b.End()
	default:
		return // in use
	}
	if b.lasts() {
		return
	}
	b.forgotten = true
	delete(s.backups, b.path)
}

// Lasts reports whether a partition has the backup, as far as the handle knows. It is true while somebody has
// the commit mutex.
func (b *Backup) Lasts() bool {
	select {
	case b.mutex <- struct{}{}:
		defer b.End()
		return b.lasts()
	default:
		return true
	}
}

// lasts is Lasts for a caller that holds the commit mutex. It is also true if the handle has anything else that
// is kept.
func (b *Backup) lasts() bool {
	return b.part != nil || b.entry != nil || b.damaged != nil || b.deleted != nil
}

// errForgotten means that another handle may have taken the place of this one.
var errForgotten = fmt.Errorf("the handle is forgotten: %w", cyrus.ErrLocked)

// valid releases the commit mutex, which the caller has just acquired, and returns an error if the
// handle is forgotten.
func (b *Backup) valid() error {
	if !b.forgotten {
		return nil
	}
	b.End()
	return fmt.Errorf("%s was just given up by another connection: %w", b.path, errForgotten)
}
