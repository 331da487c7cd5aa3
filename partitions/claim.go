package partitions

import (
	"errors"
	"fmt"
)

// errShared: two configured partitions are one repository. The commits of a backup would
// queue up in neither of them, and the index would know everything twice.
var errShared = errors.New("two partitions cannot share a repository")

// claim makes p the partition with this repository, unless another one is: the first that
// was asked, until it is found to be another repository.
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
