package history

import "context"

// Outline is the result of a LIST of a log.
type Outline struct {
	First, Newest uint64 // lowest and highest used number; 0 = the log is empty
	Held          uint64 // highest number that an object has
	Single        uint64 // highest number of a commit with its own object
	Missing       uint64 // the first number between them that no object has; 0 = none
	Segments      int
	// Doubtful means that some objects contradict each other, see Log.Odd. This is so during
	// a merge, after an interrupted one, or after a fault.
	Doubtful bool
	// Copying are the commits that copies put last, see CopyingKey.
	Copying []uint64
	backup  string
}

// Unfinished returns an error, ErrUnfinished, if a copy of the log has not put all of it.
func (o Outline) Unfinished() error { return Unfinished(o.backup, o.Held, o.Copying) }

// Outline lists the log.
func (l *Log) Outline(ctx context.Context) (Outline, error) {
	c, err := l.list(ctx, 0)
	if err != nil {
		return Outline{}, err
	}
	o := Outline{First: c.next(1), Newest: c.used(), Held: c.newest, Copying: c.copying, backup: l.Backup, Segments: len(c.segments), Doubtful: len(c.foreign)+len(c.strays) > 0}
	for _, s := range c.segments {
		o.Doubtful = o.Doubtful || c.doubtful(s)
	}
	if n := len(c.commits); n > 0 {
		o.Single = c.commits[n-1].to
	}
	if o.First > 0 {
		o.Missing = c.hole(o.First, o.Newest)
	}
	return o, nil
}

// Contains lists the log. The function that it returns reports whether the log has all these
// commits.
func (l *Log) Contains(ctx context.Context) (func(from, to uint64) bool, error) {
	c, err := l.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	return func(from, to uint64) bool { return c.hole(from, to) == 0 }, nil
}
