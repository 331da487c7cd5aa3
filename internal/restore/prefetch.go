package restore

import (
	"context"
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
)

// ahead is how many messages are read from the bucket before they are wanted.
const ahead = 8

// Loaded is a message that was read, or what hindered it.
type Loaded struct {
	GUID cyrus.GUID
	Body *Body
	Err  error
}

// Ends says that the store itself is away, or closed to us, or that the state of the backup
// cannot be read: no other message could be read either. Any other Err is of this message alone.
func (l *Loaded) Ends() bool {
	return objstore.IsTemporary(l.Err) || errors.Is(l.Err, ErrState) || errors.Is(l.Err, objstore.ErrDenied) || errors.Is(l.Err, objstore.ErrNoBucket) ||
		errors.Is(l.Err, context.Canceled) || errors.Is(l.Err, context.DeadlineExceeded)
}

// LoadAll yields the messages in order and reads the next ones meanwhile. The caller
// closes each Body.
func (s *Source) LoadAll(ctx context.Context, guids []cyrus.GUID) iter.Seq[Loaded] {
	return func(yield func(Loaded) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		queue := make(chan chan Loaded, ahead)
		go func() {
			defer close(queue)
			for _, g := range guids {
				one := make(chan Loaded, 1)
				select {
				case queue <- one:
				case <-ctx.Done():
					return
				}
				go func() {
					b, err := s.Load(ctx, g)
					one <- Loaded{g, b, err}
				}()
			}
		}()
		stopped := false
		for one := range queue {
			l := <-one
			if stopped {
				if l.Body != nil {
					_ = l.Body.Close()
				}
				continue
			}
			if !yield(l) {
				stopped = true
				cancel()
			}
		}
	}
}
