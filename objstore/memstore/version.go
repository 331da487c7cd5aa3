package memstore

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// NewVersioned returns an empty store that keeps noncurrent versions, like a versioned bucket.
func NewVersioned(clock func() time.Time) *Store {
	s := New(clock)
	s.noncurrent = map[string][]version{}
	return s
}

// version is a noncurrent version or a delete marker. Only a marker may be the newest version of
// its key.
type version struct {
	object
	marker bool
}

// retire keeps the current object of the key as a noncurrent version. marker puts a delete marker
// on top.
func (s *Store) retire(key string, marker bool, now time.Time) {
	if s.noncurrent == nil {
		return
	}
	if o, ok := s.objects[key]; ok {
		s.noncurrent[key] = slices.Insert(s.noncurrent[key], 0, version{object: o})
	}
	if marker {
		o := s.stamped(object{info: objstore.Info{Key: key, Modified: now}})
		s.noncurrent[key] = slices.Insert(s.noncurrent[key], 0, version{object: o, marker: true})
	}
}

// id is the version id.
func (o object) id() string { return fmt.Sprintf("version-%d", o.version) }

// Retain locks the current version of the object until then, like Object Lock.
func (s *Store) Retain(key string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		o.retained = until
		s.objects[key] = o
	}
}

// LegalHold places a legal hold on the current version of the object, or releases those of all its versions.
func (s *Store) LegalHold(key string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		o.held = on
		s.objects[key] = o
	}
	for i := range s.noncurrent[key] {
		s.noncurrent[key][i].held = s.noncurrent[key][i].held && on
	}
}

// Noncurrent yields a snapshot, taken when the iteration begins.
func (s *Store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		var found []objstore.Version
		err := s.do(ctx, "noncurrent", prefix, func(now time.Time) error {
			for _, key := range slices.Sorted(maps.Keys(s.noncurrent)) {
				if !strings.HasPrefix(key, prefix) || key <= startAfter {
					continue
				}
				for _, v := range s.noncurrent[key] {
					found = append(found, objstore.Version{Key: key, ID: v.id(), Size: v.info.Size, Modified: v.info.Modified,
						Marker: v.marker, StoreTime: now})
				}
			}
			return nil
		})
		if err != nil {
			yield(objstore.Version{}, err)
			return
		}
		for _, v := range found {
			if err := ctx.Err(); err != nil {
				yield(objstore.Version{}, &objstore.Error{Op: "noncurrent", Key: prefix, Err: err})
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// DeleteVersion removes a noncurrent version.
func (s *Store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	return s.do(ctx, "delete-version", v.Key, func(now time.Time) error {
		if err := objstore.CheckKey(v.Key); err != nil {
			return err
		}
		o, exists := s.objects[v.Key]
		if exists && o.id() == v.ID {
			return fmt.Errorf("%w: this is the current version", objstore.ErrPrecondition)
		}
		all := s.noncurrent[v.Key]
		at := slices.IndexFunc(all, func(have version) bool { return have.id() == v.ID })
		switch {
		case at < 0:
			return nil
		case all[at].held:
			return &objstore.RetainedError{LegalHold: true}
		case all[at].retained.After(now):
			return &objstore.RetainedError{Until: all[at].retained}
		case !exists && at == 0 && len(all) > 1 && !all[1].marker:
			return fmt.Errorf("%w: without this delete marker, version %s would be current again", objstore.ErrPrecondition, all[1].id())
		}
		if s.noncurrent[v.Key] = slices.Delete(slices.Clone(all), at, at+1); len(all) == 1 {
			delete(s.noncurrent, v.Key)
		}
		return nil
	})
}

// All yields the bytes of every object and every noncurrent version, by key. It calls no hook.
func (s *Store) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		s.mu.Lock()
		objects, noncurrent := maps.Clone(s.objects), maps.Clone(s.noncurrent)
		s.mu.Unlock()
		for key, o := range objects {
			if !yield(key, o.data) {
				return
			}
		}
		for key, versions := range noncurrent {
			for _, v := range versions {
				if !v.marker && !yield(key, v.data) {
					return
				}
			}
		}
	}
}
