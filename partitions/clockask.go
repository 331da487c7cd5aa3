package partitions

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// settle gets the second opinion that undecided asks for: further answers of the store,
// a pause apart. ask is any request whose answer comes to saw. Steady state asks nothing.
func (c *storeClock) settle(ctx context.Context, ask func(context.Context), newest time.Time) {
	pause := c.pause
	if pause == 0 {
		pause = clockPause
	}
	for n := range clockAnswers {
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

// storeNow is the store's time for something that is written; newest is the time of the
// newest commit of the log that it goes to, zero where there is none.
func (p *Partition) storeNow(ctx context.Context, newest time.Time) time.Time {
	p.clock.settle(ctx, func(ctx context.Context) {
		_, _ = p.store.Stat(ctx, repositoryKey) // an error states the time, too
	}, newest)
	return p.clock.now(p.set.opt.Now())
}

// timed notes what every answer of a store says of its clock.
type timed struct {
	objstore.Store
	clock *storeClock
	now   func() time.Time
}

func (t timed) note(i objstore.Info, err error) {
	if err != nil {
		t.clock.saw(objstore.StoreTimeOf(err), t.now())
		return
	}
	t.clock.saw(i.StoreTime, t.now())
}

func (t timed) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	i, err := t.Store.Put(ctx, key, body, o)
	t.note(i, err)
	return i, err
}

func (t timed) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := t.Store.Get(ctx, key, off, n)
	if err != nil {
		t.note(objstore.Info{}, err)
		return nil, err
	}
	t.note(o.Info, nil)
	return o, nil
}

func (t timed) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := t.Store.Stat(ctx, key)
	t.note(i, err)
	return i, err
}
