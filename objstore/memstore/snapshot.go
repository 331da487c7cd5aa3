package memstore

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Snapshot is the state of a store at one time.
type Snapshot struct{ objects map[string]object }

// Snapshot copies the current state of the store. Bodies are shared: they are never written
// to.
func (s *Store) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{maps.Clone(s.objects)}
}

// Rollback restores the objects below a prefix, like an administrator who restores a
// bucket. Objects that are newer than the snapshot are removed, unless keepNewer: some
// tools only copy back the saved objects. Later answers have the old ETags and times.
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

// Changed returns the keys whose objects differ from the snapshot.
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

// Clone returns a store with the same objects and noncurrent versions, and another clock. Bodies are shared.
func (s *Store) Clone(clock func() time.Time) *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New(clock)
	c.objects, c.version = maps.Clone(s.objects), s.version
	if s.noncurrent != nil {
		c.noncurrent = map[string][]version{}
	}
	for key, list := range s.noncurrent {
		c.noncurrent[key] = slices.Clone(list)
	}
	return c
}
