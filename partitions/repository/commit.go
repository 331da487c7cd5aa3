package repository

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Header returns the header of the commit after tip. at is the store's time.
func (o *LockOptions) Header(f *Found, tip history.Tip, at time.Time) history.Header {
	if at.Before(tip.Time) {
		at = tip.Time
	}
	return history.Header{
		Version: history.Version, Backup: f.Path, Number: tip.Number + 1, Prev: tip.Hash, Time: at.UTC(),
		Host: o.Host, Clock: o.Now().UTC().Round(0), Connection: "lock", Client: o.Owner, Random: history.NewRandom(),
	}
}

// PutCommit writes a commit with these events. It returns false if another writer has
// taken the number.
func (f *Found) PutCommit(ctx context.Context, h history.Header, events ...history.Event) (won bool, err error) {
	bld := history.NewBuilder(h, pack.Options{})
	for _, e := range events {
		if err := bld.Event(e); err != nil {
			return false, err
		}
	}
	return f.PutBuilt(ctx, bld)
}

// PutBuilt writes a commit. It returns false if another writer has taken the number.
func (f *Found) PutBuilt(ctx context.Context, bld *history.Builder) (won bool, err error) {
	obj, _, err := bld.Finish(nil)
	if err != nil {
		return false, err
	}
	h := bld.Header()
	s, key := f.Partition.Store, history.LogKey(f.Path, h.Number)
	_, putErr := s.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{IfAbsent: true})
	if putErr == nil {
		return true, nil
	}
	there, err := history.ReadHeader(ctx, s, f.Path, h.Number)
	switch {
	case err == nil:
		return there.Random == h.Random, nil
	case errors.Is(err, objstore.ErrNotExist):
		return false, putErr
	}
	return false, errors.Join(putErr, err)
}
