package cyrbackup

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// statesAhead is how many states are read at a time.
	statesAhead = 8
	// bytesAhead bounds the logs that are read at a time, since states take memory. A backup with a
	// longer log is read alone.
	bytesAhead = 8 << 20
)

// loadedBackup is a backup with its state.
type loadedBackup struct {
	c      *command
	unread error // the state cannot be read
	err    error // the backup cannot
}

// weight is the size of the log; an unknown one counts as bytesAhead.
func (b loadedBackup) weight() int64 {
	if b.err != nil {
		return 0
	}
	if n, ok := b.c.found.ListedBytes(); ok {
		return n
	}
	return bytesAhead
}

func (b loadedBackup) load() loadedBackup {
	if b.err == nil {
		b.c.found = b.c.found.Listed()
		b.unread = b.c.loadState()
	}
	return b
}

// loadedAhead yields all backups with their states, which the loop closes. An error of a backup
// comes in its place.
func loadedAhead(all *command) iter.Seq[loadedBackup] {
	return func(yield func(loadedBackup) bool) {
		ctx, cancel := context.WithCancel(all.ctx)
		defer cancel()
		in := func(yield func(loadedBackup) bool) {
			for f, err := range repository.BrowseAll(ctx, all.bucket.Partitions) {
				c := *all
				c.ctx, c.found, c.warned = ctx, f, nil
				if ctx.Err() != nil || !yield(loadedBackup{c: &c, err: err}) {
					return
				}
			}
		}
		limit := inorder.Limit[loadedBackup]{Count: statesAhead, Weight: bytesAhead, Of: loadedBackup.weight}
		for b := range inorder.Map(ctx, limit, in, func(_ context.Context, _ <-chan struct{}, b loadedBackup) loadedBackup { return b.load() }) {
			switch {
			case ctx.Err() == nil:
				if !yield(b) {
					cancel() // and close the states that were read ahead
				}
			case b.err == nil && b.unread == nil:
				_ = b.c.mem.Close() // it was only read
			}
		}
	}
}
