package faultstore

import (
	"bytes"
	"context"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
)

// latePut is a copy of a request that has not arrived yet.
type latePut struct {
	key  string
	body []byte
	opt  objstore.PutOptions
}

// Put implements objstore.Store; it sends the request once or twice.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	t := s.trouble("put", key)
	if err := t.before(); err != nil {
		return objstore.Info{}, err
	}
	twice := false
	for _, f := range t.hit {
		twice = twice || f.Twice
		if f.Late || f.Kept {
			if err := s.keep(key, body, opt); err != nil {
				return objstore.Info{}, asError("put", key, err)
			}
		}
		if f.Kept {
			return objstore.Info{}, Lost("put", key)
		}
	}
	info, err := s.inner.Put(ctx, key, body, opt)
	if twice {
		info, err = s.inner.Put(ctx, key, body, opt)
	}
	return t.answer(info, err)
}

func (s *Store) keep(key string, body objstore.Body, opt objstore.PutOptions) error {
	b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, latePut{key, b, opt})
	return nil
}

// Deliver delivers the late copies of puts and returns their number. Their answers are
// dropped.
func (s *Store) Deliver(ctx context.Context) int {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	for _, p := range late {
		_, _ = s.inner.Put(ctx, p.key, bytes.NewReader(p.body), p.opt) // the answer is dropped
	}
	return len(late)
}
