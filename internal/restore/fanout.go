package restore

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// FanOut hands the folders to up to n workers (at least one), each with a connection of its
// own. A worker receives folders until the queue is closed; worker numbers start at 0. The
// first error cancels the others.
func FanOut(ctx context.Context, folders []*Folder, n int, work func(ctx context.Context, worker int, queue <-chan *Folder) error) error {
	queue := make(chan *Folder)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(queue)
		for _, f := range folders {
			select {
			case queue <- f:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for i := range max(1, min(n, len(folders))) {
		g.Go(func() error { return work(ctx, i, queue) })
	}
	return g.Wait()
}
