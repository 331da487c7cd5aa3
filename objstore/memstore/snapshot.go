package memstore

import (
	"maps"
	"slices"
	"strings"
)

// Snapshot is what a store held at a moment.
type Snapshot struct{ objects map[string]object }

// Snapshot copies the store as it is now. Bodies are shared: they are never written to.
func (s *Store) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{maps.Clone(s.objects)}
}

// Rollback brings the objects below a prefix back as they were, as an administrator does
// who restores a bucket. Objects that are newer than the snapshot go, unless keepNewer:
// some tools only copy back what they have. Answers afterwards carry the old ETags and times.
func (s *Store) Rollback(to Snapshot, prefix string, keepNewer bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !keepNewer {
		maps.DeleteFunc(s.objects, func(key string, _ object) bool { return strings.HasPrefix(key, prefix) })
	}
	for key, o := range to.objects {
		if strings.HasPrefix(key, prefix) {
			s.objects[key] = o
		}
	}
}

// Changed are the keys of which the store does not hold what the snapshot does.
func (s *Store) Changed(since Snapshot) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, o := range s.objects {
		if old, ok := since.objects[key]; !ok || old.version != o.version {
			keys = append(keys, key)
		}
	}
	for key := range since.objects {
		if _, ok := s.objects[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
