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

// A partition that does not answer is waited for once, not once per user. The first command
// that waits without success gives up for all commands: until the store answers, every further
// command on this partition fails immediately. A command probes the partition again every few
// seconds.

const (
	// recheckMost is the longest pause between two probes of a partition that was given up.
	recheckMost = 3 * time.Second
	// probeWait is how long a command waits for the answer to a probe.
	probeWait = time.Second
	// probeTime limits the probe itself.
	probeTime = 20 * time.Second
	// answersFor is how long an answer proves that a partition is reachable.
	answersFor = 10 * time.Second
)

// outage tracks whether one kind of request to a partition gets answers.
type outage struct {
	recheck time.Duration
	probe   func() // probes in the background, then calls endQuestion; nil: the next request is the probe

	mu      sync.Mutex
	err     error     // last failure; nil: the last request was answered
	since   time.Time // when the first of these failures occurred
	open    bool      // a command has waited without success
	checked time.Time // when the last probe ended, with an answer or without
	asking  chan struct{}
	asked   time.Time // when asking began
}

// noted records the outcome of a request. failed is nil if the store answered.
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

// giveUp makes all commands fail immediately until the store answers.
func (o *outage) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = o.err != nil
}

// failing reports whether the last request got no answer.
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

// verdict returns nil if a request may be made, otherwise the reason against it.
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
		case <-asking: // nil: a probe is due soon
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

// ask starts a probe if it is due. It returns how long to wait and for which channel, or 0 and
// nil if the verdict still holds.
func (o *outage) ask() (wait time.Duration, asking <-chan struct{}, may bool) {
	const soon = 50 * time.Millisecond // too short a wait to return an error
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
		o.checked = time.Now() // the caller's request is the probe
		return 0, nil, true
	}
	o.asking, o.asked = make(chan struct{}), time.Now()
	o.probe()
	return probeWait, o.asking, false
}

// endQuestion ends the probe that ask started. Its outcome has already been noted.
func (o *outage) endQuestion() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checked = time.Now()
	close(o.asking)
	o.asking = nil
}

// standing returns the current verdict as an error.
func (o *outage) standing() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open || o.err == nil {
		return nil
	}
	return fmt.Errorf("no answer since %s; it is asked again every few seconds: %w", timespec.Text(o.since), o.err)
}

// unanswered reports whether an error is not an answer from the store.
func unanswered(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, context.DeadlineExceeded)
}

// othersAnswer reports whether a partition other than p is reachable.
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
