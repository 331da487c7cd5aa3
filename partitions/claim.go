package partitions

import (
	"errors"
	"fmt"
)

// errShared means that two configured partitions use the same repository. Neither would
// serialize the commits of a backup, and the index would hold everything twice.
var errShared = errors.New("two partitions cannot share a repository")

// claim registers p as the partition with this repository. It fails if another partition has
// claimed the repository. The first partition keeps its claim until it is found to have
// another repository.
func (s *Set) claim(p *Partition, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.claims[id]; first != nil && first != p {
		return fmt.Errorf("partition %s (%s) has the same repository, %s: %w: configure another location for one backuppartition-NAME",
			first.name, first.location, id, errShared)
	}
	for other, claimed := range s.claims {
		if claimed == p {
			delete(s.claims, other)
		}
	}
	s.claims[id] = p
	return nil
}
