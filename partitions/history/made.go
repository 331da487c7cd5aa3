package history

import (
	"context"
	"time"
)

// lookBack is how many commits before a doubtful one are asked about its time.
const lookBack = 20

// Made is when one commit of the log was made, as Times has it without a walk along the
// whole log; zero = nothing says it. doubt says for people that its store time is not
// believed. now is the reader's clock.
func (l *Log) Made(ctx context.Context, h Header, now time.Time) (at time.Time, doubt string, err error) {
	t := Times{Now: now}
	row := []Header{h}
	// A time that is yet to come needs no other witness than the clocks.
	for first := h; !t.ahead(h.Time) && !t.confirmed(first) && first.Number > 1 && len(row) <= lookBack; {
		first, err = l.header(ctx, first.Number-1)
		if IsUnreadable(err) {
			break
		}
		if err != nil {
			return at, "", err
		}
		row = append(row, first)
	}
	for i := len(row) - 1; i >= 0; i-- {
		t.doubted = nil
		at = t.Next(row[i])
	}
	return at, t.Doubts(), nil
}

// header is that of a commit, of an object of its own or in a segment.
func (l *Log) header(ctx context.Context, n uint64) (h Header, _ error) {
	for c, err := range l.Commits(ctx, n, n) {
		if err != nil {
			return h, err
		}
		h = c.Header()
		break
	}
	return h, nil
}
