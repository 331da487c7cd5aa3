// Package rangecache is a Store that caches recently read ranges. Many small messages share
// one frame of a pack, so a reader of consecutive messages requests the frame once.
package rangecache

import (
	"bytes"
	"container/list"
	"context"
	"io"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

// maxRange is the largest cached range; a larger range is not a frame of small messages.
const maxRange = 1 << 20

// Store decorates another store. Use it only for objects that never change.
type Store struct {
	objstore.Store
	max int64

	mu    sync.Mutex
	held  int64
	byKey map[span]*list.Element // of *kept
	used  list.List              // most recent first
}

type span struct {
	key    string
	off, n int64
}

type kept struct {
	span
	info objstore.Info
	b    []byte
}

// New caches up to max bytes of ranges.
func New(s objstore.Store, max int64) *Store {
	return &Store{Store: s, max: max, byKey: map[span]*list.Element{}}
}

// Get returns a cached range from memory.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if off < 0 || n <= 0 || n > maxRange {
		return s.Store.Get(ctx, key, off, n)
	}
	sp := span{key, off, n}
	if k := s.find(sp); k != nil {
		return k.object(), nil
	}
	o, err := s.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(o, n))
	if cerr := o.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	k := &kept{sp, o.Info, b}
	s.keep(k)
	return k.object(), nil
}

func (k *kept) object() *objstore.Object {
	return &objstore.Object{ReadCloser: io.NopCloser(bytes.NewReader(k.b)), Info: k.info}
}

func (s *Store) find(sp span) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byKey[sp]
	if !ok {
		return nil
	}
	s.used.MoveToFront(e)
	return e.Value.(*kept)
}

func (s *Store) keep(k *kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.byKey[k.span]; twice {
		return
	}
	s.byKey[k.span] = s.used.PushFront(k)
	s.held += int64(len(k.b))
	for s.held > s.max && s.used.Len() > 1 {
		last := s.used.Back()
		old := last.Value.(*kept)
		delete(s.byKey, old.span)
		s.held -= int64(len(old.b))
		s.used.Remove(last)
	}
}
