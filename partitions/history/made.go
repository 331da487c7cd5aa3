package history

import (
	"context"
	"time"
)

// lookBack is how many earlier commits Made reads to judge the time of a commit.
const lookBack = 20

// Made returns when a commit of the log was made, as Times does, but without reading the
// whole log; zero = unknown. doubt explains to people why its store time is ignored, ""
// if it is not. now is the reader's clock.
func (l *Log) Made(ctx context.Context, h Header, now time.Time) (at time.Time, doubt string, err error) {
	t := Times{Now: now}
	row := []Header{h}
	// For a time in the future, the clocks are enough to judge.
	for first := h; !t.ahead(h.Time) && !t.confirmed(first) && first.Number > 1 && len(row) <= lookBack; {
		first, err = l.Header(ctx, first.Number-1)
		if IsUnreadable(err) {
			break
		}
		if err != nil {
			return at, "", err
		}
		row = append(row, first)
	}
	for i := len(row) - 1; i >= 0; i-- {
		t.ignored = nil
		at = t.Next(row[i])
	}
	return at, t.Doubts(), nil
}

// Header returns the header of commit n, from its own object or a segment.
func (l *Log) Header(ctx context.Context, n uint64) (h Header, _ error) {
	for c, err := range l.Commits(ctx, n, n) {
		if err != nil {
			return h, err
		}
		h = c.Header()
		break
	}
	return h, nil
}
