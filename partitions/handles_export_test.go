package partitions

// Handles returns the number of backups with a handle.
func (s *Set) Handles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.backups)
}
