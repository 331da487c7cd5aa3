package storeclock

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// settle gets the second opinion that undecided asks for: further answers of the store,
// a pause apart. ask is any request whose answer comes to saw. Steady state asks nothing.
func (c *Clock) Settle(ctx context.Context, ask func(context.Context), newest time.Time) {
	pause := c.Pause
	if pause == 0 {
		pause = Pause
	}
	for n := range Answers {
		if !c.undecided() {
			return
		}
		if n > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
		ask(ctx)
	}
	c.decide(newest)
}

// timed notes what every answer of a store says of its clock.
type Store struct {
	objstore.Store
	Clock *Clock
	Now   func() time.Time
}

func (t Store) note(i objstore.Info, err error) {
	if err != nil {
		t.Clock.Saw(objstore.StoreTimeOf(err), t.Now())
		return
	}
	t.Clock.Saw(i.StoreTime, t.Now())
}

func (t Store) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	i, err := t.Store.Put(ctx, key, body, o)
	t.note(i, err)
	return i, err
}

func (t Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := t.Store.Get(ctx, key, off, n)
	if err != nil {
		t.note(objstore.Info{}, err)
		return nil, err
	}
	t.note(o.Info, nil)
	return o, nil
}

func (t Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := t.Store.Stat(ctx, key)
	t.note(i, err)
	return i, err
}
