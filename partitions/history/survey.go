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

// Retained reports whether a retained event in the log records that all commits before First were removed.
func (s *Survey) Retained(ctx context.Context) (bool, error) {
	return s.log.removedBefore(ctx, s.has, s.First)
}
