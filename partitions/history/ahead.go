package history

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

const (
	// aheadCommits is the maximum number of commits requested at once. Without reading
	// ahead, each commit would cost a round trip.
	aheadCommits = 8
	// aheadBytes is how much of each commit is read ahead. The rest of a larger commit is
	// read when it is needed.
	aheadBytes = 256 << 10
)

// ahead is a store that requests the next commits of a log while the current commit is
// processed. It is for one goroutine.
type ahead struct {
	objstore.Store
	ctx    context.Context // of the walk
	cancel context.CancelFunc
	work   sync.WaitGroup
	backup string
	window uint64                     // number of commits requested at once; grows while commits are found
	next   uint64                     // the first commit not requested yet
	to     uint64                     // the last commit to request
	asked  map[string]<-chan *fetched // by key
}

// fetched is the beginning of an object.
type fetched struct {
	info objstore.Info
	b    []byte
	err  error
}

func newAhead(ctx context.Context, s objstore.Store, backup string, from, to uint64) *ahead {
	a := &ahead{Store: s, backup: backup, window: 1, next: from, to: to, asked: map[string]<-chan *fetched{}}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// close cancels the running requests.
func (a *ahead) close() {
	a.cancel()
	a.work.Wait()
}

// request requests commit n, which is needed now, and the following commits of the window.
func (a *ahead) request(n uint64) {
	for a.next = max(a.next, n); a.next <= a.to && a.next < n+a.window; a.next++ {
		key := LogKey(a.backup, a.next)
		c := make(chan *fetched, 1)
		a.asked[key] = c
		a.work.Go(func() { c <- a.fetch(key) })
	}
}

func (a *ahead) fetch(key string) *fetched {
	o, err := a.Store.Get(a.ctx, key, 0, aheadBytes)
	if err != nil {
		return &fetched{err: err}
	}
	b, err := io.ReadAll(io.LimitReader(o, aheadBytes))
	return &fetched{info: o.Info, b: b, err: closeAfter(o, err)}
}

// adapt changes the window after a commit was read. If the commit had its own object
// (single), the next commits probably have too; otherwise they are probably in the same
// segment.
func (a *ahead) adapt(single bool) {
	if single {
		a.window = min(2*a.window, aheadCommits)
	} else {
		a.window = 1
	}
}

// Get waits for the response if the key was requested ahead.
func (a *ahead) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	c := a.asked[key]
	if c == nil || off != 0 || n >= 0 {
		return a.Store.Get(ctx, key, off, n)
	}
	delete(a.asked, key) // used once: a second Get must ask the store again
	f := <-c
	if f.err != nil {
		return nil, f.err
	}
	o := &objstore.Object{ReadCloser: io.NopCloser(bytes.NewReader(f.b)), Info: f.info}
	if f.info.Size > int64(len(f.b)) {
		o.ReadCloser = objstore.Continued(f.b, func() (io.ReadCloser, error) {
			return a.Store.Get(ctx, key, int64(len(f.b)), -1)
		})
	}
	return o, nil
}
