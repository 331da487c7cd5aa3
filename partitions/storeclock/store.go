package storeclock

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Store passes the time in every answer of the embedded store to a Clock.
type Store struct {
	objstore.Store
	Clock *Clock
	Now   func() time.Time
}

func (t Store) observe(i objstore.Info, err error) {
	if err != nil {
		t.Clock.Observe(objstore.StoreTimeOf(err), t.Now())
		return
	}
	t.Clock.Observe(i.StoreTime, t.Now())
}

// Put implements objstore.Store.
func (t Store) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	i, err := t.Store.Put(ctx, key, body, o)
	t.observe(i, err)
	return i, err
}

// Get implements objstore.Store.
func (t Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := t.Store.Get(ctx, key, off, n)
	if err != nil {
		t.observe(objstore.Info{}, err)
		return nil, err
	}
	t.observe(o.Info, nil)
	return o, nil
}

// Stat implements objstore.Store.
func (t Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := t.Store.Stat(ctx, key)
	t.observe(i, err)
	return i, err
}
