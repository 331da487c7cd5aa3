package repository

import (
	"bytes"
	"context"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
)

// beginningSize is how much of an object is read at first. Many readers need only the header of a
// commit, and a body that is not read to its end costs a connection.
const beginningSize = 64 << 10

// beginning is the first part of an object, or all of it.
type beginning struct {
	info objstore.Info
	b    []byte
}

func (s *listedStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if s.lacks(key) {
		return nil, &objstore.Error{Op: "get", Key: key, Err: objstore.ErrNotExist}
	}
	if off != 0 || n >= 0 && n < beginningSize {
		o, err := s.Store.Get(ctx, key, off, n)
		s.note(key, err)
		return o, err
	}
	first, err := s.beginning(ctx, key)
	if err != nil {
		return nil, err
	}
	o := &objstore.Object{ReadCloser: io.NopCloser(bytes.NewReader(first.b)), Info: first.info}
	if had := int64(len(first.b)); had < first.info.Size && (n < 0 || n > had) {
		o.ReadCloser = objstore.Continued(first.b, func() (io.ReadCloser, error) {
			return s.Store.Get(ctx, key, had, max(n-had, -1))
		})
	}
	return o, nil
}

// beginning reads the first part of an object. It keeps the last one for one more reader: commands
// read the newest commit for the state, and again for its time. A third reader may have met damage,
// and must ask the store again.
func (s *listedStore) beginning(ctx context.Context, key string) (*beginning, error) {
	if b := s.last.Swap(nil); b != nil && b.info.Key == key {
		return b, nil
	}
	o, err := s.Store.Get(ctx, key, 0, beginningSize)
	if s.note(key, err); err != nil {
		return nil, err
	}
	b := &beginning{info: o.Info}
	b.info.Key = key
	b.b, err = io.ReadAll(io.LimitReader(o, beginningSize))
	if cerr := o.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	s.last.Store(b)
	return b, nil
}
