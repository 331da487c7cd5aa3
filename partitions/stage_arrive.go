package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// arrivals is the memory for messages of one chunk while they arrive from clients. Clients can
// announce messages and send nothing. A message that gets no memory soon therefore arrives in a
// temporary file, and takes working memory, which waits for no client, only to be packed.
type arrivals struct {
	memory  *semaphore.Weighted
	starved atomic.Int64 // when a message last got no memory, in nanoseconds since the epoch
}

const (
	// arrivalWait is how long a message waits for others to arrive.
	arrivalWait = 200 * time.Millisecond
	// starvedFor is how long no message waits after a vain wait.
	starvedFor = 10 * time.Second
)

// take takes n bytes and reports whether they were free, or became free soon.
func (a *arrivals) take(ctx context.Context, n int64, now func() time.Time) (bool, error) {
	if a.memory.TryAcquire(n) {
		return true, nil
	}
	if now().UnixNano()-a.starved.Load() < int64(starvedFor) {
		return false, nil
	}
	soon, cancel := context.WithTimeout(ctx, arrivalWait)
	defer cancel()
	if a.memory.Acquire(soon, n) == nil {
		return true, nil
	}
	a.starved.Store(now().UnixNano())
	return false, ctx.Err()
}

// arrive returns a reader of a body that arrives from a client. n bytes of memory for the body are
// taken until done is called.
func (g *Stage) arrive(ctx context.Context, n, size int64, body io.Reader) (r io.Reader, done func(), err error) {
	switch taken, err := g.set.arriving.take(ctx, n, g.set.opt.Now); {
	case err != nil:
		return nil, nil, err
	case taken:
		return body, func() { g.set.arriving.memory.Release(n) }, nil
	}
	f, err := spool(body, size)
	if err != nil {
		return nil, nil, err
	}
	if err := g.memory(ctx, n); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, func() {
		g.set.working.Release(n)
		_ = f.Close() // the bytes are checked against the GUID
	}, nil
}

// spool receives a body in a temporary file without a name. If the file cannot be written, the
// client has to try again later.
func spool(body io.Reader, size int64) (*os.File, error) {
	f, err := os.CreateTemp("", "backupd-body-")
	if err != nil {
		return nil, laterForFile(err)
	}
	if err = os.Remove(f.Name()); err == nil {
		if _, err = io.CopyN(f, body, size); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		return nil, errors.Join(laterForFile(err), f.Close())
	}
	return f, nil
}

// laterForFile marks an error of a temporary file, as opposed to the client's connection, as one
// that passes.
func laterForFile(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return fmt.Errorf("%w: receive a message in a temporary file: %w", cyrus.ErrLocked, err)
	}
	return err
}
