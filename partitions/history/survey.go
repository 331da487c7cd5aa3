package history

import "context"

// Survey is a log as readers see it, listed once. It reads single commits of it.
type Survey struct {
	First, Newest uint64 // lowest and highest number; 0 = the log is empty

	log *Log
	has *contents
}

// Survey lists the log.
func (l *Log) Survey(ctx context.Context) (*Survey, error) {
	c, err := l.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	return &Survey{First: c.next(1), Newest: c.newest, log: l, has: c}, nil
}

// Hash returns the hash of commit n, from the object that readers prefer. The error is ErrAbsent if no object has it.
func (s *Survey) Hash(ctx context.Context, n uint64) (string, error) {
	if s.has.hole(n, n) != 0 {
		return "", s.log.absent(n)
	}
	return s.log.hashOf(ctx, s.has, n)
}

// Previous returns the hash that commit n names as that of the commit before it; "" = unknown.
func (s *Survey) Previous(ctx context.Context, n uint64) (string, error) {
	return s.log.prevAfter(ctx, s.has, span{n - 1, n - 1})
}

// Unfinished returns an error, ErrUnfinished, if the log is being copied and its end is missing.
func (s *Survey) Unfinished() error { return s.log.Unfinished(s.has.newest, s.has.copying) }

// Header returns the header of commit n.
func (s *Survey) Header(ctx context.Context, n uint64) (Header, error) { return s.log.Header(ctx, n) }

// Hole returns the first run of missing commits between two numbers; zeros = there is none.
func (s *Survey) Hole(from, to uint64) (first, last uint64) {
	if first = s.has.hole(from, to); first == 0 {
		return 0, 0
	}
	if last = s.has.next(first); last == 0 || last > to {
		return first, to
	}
	return first, last - 1
}

// readBack is how many of the newest commits Retained reads one by one.
const readBack = 64

// Retained reports whether a retained event in the log records that all commits before First were removed. after is a
// commit that is probably older than the event. The event is then one of the newest, so Retained begins at the end.
func (s *Survey) Retained(ctx context.Context, after uint64) (bool, error) {
	lowest := max(s.First, after+1)
	n := s.Newest
	for read := 0; n >= lowest && read < readBack; n, read = n-1, read+1 {
		found, err := s.retainedIn(ctx, n, n)
		if found || err != nil {
			return found, err
		}
	}
	if n >= lowest {
		if found, err := s.retainedIn(ctx, lowest, n); found || err != nil {
			return found, err
		}
	}
	return s.retainedIn(ctx, s.First, min(after, s.Newest))
}

// retainedIn looks for the event in the commits from … to. It skips missing and unreadable ones.
func (s *Survey) retainedIn(ctx context.Context, from, to uint64) (bool, error) {
	for n := s.has.next(max(from, 1)); n != 0 && n <= to; {
		end, last := to, n-1
		if hole := s.has.hole(n, to); hole > 0 {
			end = hole - 1
		}
		for c, err := range s.log.commitsAfter(ctx, Tip{Number: n - 1}, end, s.has) {
			removed := false
			if err == nil {
				last = c.Header().Number
				removed, err = c.removes(s.First)
			}
			if removed || err != nil && !IsUnreadable(err) {
				return removed, err
			}
		}
		if last < end {
			last++ // it cannot be read
		}
		n = s.has.next(last + 1)
	}
	return false, nil
}
