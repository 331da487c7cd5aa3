package restore

import (
	"context"
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
)

// ahead is how many messages are read from the bucket in advance.
const ahead = 8

// Loaded is a message that was read, or the error that prevented it.
type Loaded struct {
	GUID cyrus.GUID
	Body *Body
	Err  error
}

// Ends reports whether the error affects all messages: the store is unreachable or denies
// access, or the state of the backup cannot be read. Any other Err concerns this message only.
func (l *Loaded) Ends() bool {
	return objstore.IsTemporary(l.Err) || errors.Is(l.Err, ErrState) || errors.Is(l.Err, objstore.ErrDenied) || errors.Is(l.Err, objstore.ErrNoBucket) ||
		errors.Is(l.Err, context.Canceled) || errors.Is(l.Err, context.DeadlineExceeded)
}

// LoadAll yields the messages in order and reads the next ones in the background. The caller
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
