package partitions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A partition that does not answer is waited for once, not once per user: whoever has
// waited without success gives up for all, and until an answer comes every further command on
// this partition fails at once. Somebody asks again every few seconds.

const (
	// recheckMost is the longest pause between two questions to a partition that was given up.
	recheckMost = 3 * time.Second
	// probeWait is how long one command waits for the answer to such a question.
	probeWait = time.Second
	// probeTime bounds the question itself.
	probeTime = 20 * time.Second
	// answersFor is how long an answer proves that a partition can be reached.
	answersFor = 10 * time.Second
)

// outage tracks one kind of requests to a partition that get no answer.
type outage struct {
	recheck time.Duration
	probe   func() // asks in the background, then calls endQuestion; nil: the next request asks

	mu      sync.Mutex
	err     error     // the last failure; nil: the last request was answered
	since   time.Time // when the first of these failures was seen
	open    bool      // somebody has waited without success
	checked time.Time // when the last question was answered, or not
	asking  chan struct{}
	asked   time.Time // when asking began
}

// noted takes the outcome of a request: failed is nil when the store has answered.
func (o *outage) noted(failed error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if failed == nil {
		o.err, o.open = nil, false
		return
	}
	if o.err == nil {
		o.since = time.Now()
	}
	o.err, o.checked = failed, time.Now()
}

// giveUp makes all commands fail at once until an answer comes.
func (o *outage) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = o.err != nil
}

// failing reports that the last request got no answer.
func (o *outage) failing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err != nil
}

func (o *outage) givenUp() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

// verdict is nil when a request may be made, and otherwise why it need not be.
func (o *outage) verdict(ctx context.Context) error {
	for {
		wait, asking, may := o.ask()
		if may {
			return nil
		}
		if wait <= 0 {
			return o.standing()
		}
		t := time.NewTimer(wait)
		select {
		case <-asking: // nil: it is due soon
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
		if asking != nil {
			return o.standing()
		}
	}
}

// ask begins a question where one is due. It returns how long to wait, and for what;
// nothing and 0 when the verdict still holds.
func (o *outage) ask() (wait time.Duration, asking <-chan struct{}, may bool) {
	const soon = 50 * time.Millisecond // not worth an error
	o.mu.Lock()
	defer o.mu.Unlock()
	due := time.Until(o.checked.Add(o.recheck))
	switch {
	case !o.open:
		return 0, nil, true
	case o.asking != nil:
		return time.Until(o.asked.Add(probeWait)), o.asking, false
	case due > soon:
		return 0, nil, false
	case due > 0:
		return due, nil, false
	case o.probe == nil:
		o.checked = time.Now() // the caller's request is the question
		return 0, nil, true
	}
	o.asking, o.asked = make(chan struct{}), time.Now()
	o.probe()
	return probeWait, o.asking, false
}

// endQuestion ends the question that ask has begun; what came of it is noted already.
func (o *outage) endQuestion() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checked = time.Now()
	close(o.asking)
	o.asking = nil
}

// standing is the current verdict in words.
func (o *outage) standing() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open || o.err == nil {
		return nil
	}
	return fmt.Errorf("no answer since %s; it is asked again every few seconds: %w", timespec.Text(o.since), o.err)
}

// unanswered reports that an error is not an answer of the store.
func unanswered(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, context.DeadlineExceeded)
}

// othersAnswer reports that a partition beside p can be reached.
func (s *Set) othersAnswer(ctx context.Context, p *Partition) bool {
	ctx, stop := context.WithTimeout(ctx, probeWait)
	defer stop()
	answers := make(chan bool, len(s.parts))
	asked := 0
	for _, q := range s.parts {
		if q == p {
			continue
		}
		if time.Since(time.Unix(0, q.answered.Load())) < answersFor {
			return true
		}
		asked++
		s.work.Go(func() {
			_, err := q.store.Stat(ctx, repository.Key)
			answers <- ctx.Err() == nil && !unanswered(err)
		})
	}
	for range asked {
		if <-answers {
			return true
		}
	}
	return false
}
