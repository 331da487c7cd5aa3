package history

import (
	"context"
	"fmt"
)

func (l *Log) absent(n uint64) error {
	return fmt.Errorf("commit %d of %s: %w: not in %s, nor in any segment", n, l.Backup, ErrAbsent, LogKey(l.Backup, n))
}

// readTries is how often a commit is read before it counts as damaged, since the network
// may corrupt bytes once.
const readTries = 3

// check reads commit n to its end, with the record blocks that it names. If stop is not
// nil and returns true for the header, check returns at once with stopped set.
func (l *Log) check(ctx context.Context, n uint64, stop func(Header) bool) (stopped bool, err error) {
	return l.checkIn(ctx, n, stop, nil)
}

// checkIn is check with the contents of the log, which may be nil.
func (l *Log) checkIn(ctx context.Context, n uint64, stop func(Header) bool, have *contents) (stopped bool, err error) {
	for range readTries {
		for c, cerr := range l.commitsAfter(ctx, Tip{Number: n - 1}, n, have) {
			if err = cerr; err != nil {
				break
			}
			if stop != nil && stop(c.Header()) {
				return true, nil
			}
			err = l.checkCommit(ctx, c)
		}
		if !IsUnreadable(err) {
			return false, err
		}
	}
	return false, err
}

// checkCommit reads all events, record blocks and places of a commit.
func (l *Log) checkCommit(ctx context.Context, c *CommitReader) error {
	for e, err := range c.Events() {
		if err != nil {
			return err
		}
		blocks, ok := e.(*RecordBlocksEvent)
		if !ok {
			continue
		}
		for _, ref := range blocks.Blocks {
			for _, err := range ReadBlock(ctx, l.Store, ref) {
				if err != nil {
					return err
				}
			}
		}
	}
	for _, err := range c.Places() {
		if err != nil {
			return err
		}
	}
	return nil
}
