package memstore

import (
	"bytes"
	"sort"
	"strings"
)

// The functions below simulate damage, not a client's work: they call no hook, and the
// times of a damaged object do not change.

// Keys returns the keys below a prefix, in the order of their puts. Random
// names do not change that order, so a test that draws from it is repeatable.
func (s *Store) Keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return s.objects[keys[i]].version < s.objects[keys[j]].version })
	return keys
}

// Bytes returns a copy of an object's bytes, or nil if it does not exist.
func (s *Store) Bytes(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil
	}
	return append([]byte{}, o.data...)
}

// Lose removes the object.
func (s *Store) Lose(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Flip inverts one bit of the byte at off, counted modulo the object's size.
func (s *Store) Flip(key string, off int) {
	s.change(key, func(b []byte) []byte {
		if len(b) > 0 {
			b[off%len(b)] ^= 1 << (off % 8)
		}
		return b
	})
}

// Truncate cuts the object to n bytes.
func (s *Store) Truncate(key string, n int) {
	s.change(key, func(b []byte) []byte { return b[:min(n, len(b))] })
}

// Swap exchanges the bytes of two objects.
func (s *Store) Swap(a, b string) {
	old := s.Bytes(a)
	other := s.Bytes(b)
	s.change(a, func([]byte) []byte { return other })
	s.change(b, func([]byte) []byte { return old })
}

// Copy puts a copy of an object under another name and replaces an existing object.
func (s *Store) Copy(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[from]
	if !ok {
		return
	}
	o.info.Key = to
	s.objects[to] = s.stamped(o)
}

func (s *Store) change(key string, fn func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return
	}
	o.data = fn(bytes.Clone(o.data))
	o.info.Size = int64(len(o.data))
	s.objects[key] = s.stamped(o)
}
