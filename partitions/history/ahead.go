package history

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

const (
	// aheadCommits is how many commits are asked for at once at most: of a log that is read
	// in order each would cost a round trip otherwise.
	aheadCommits = 8
	// aheadBytes is how much of each is held; what a larger one has beyond that is read
	// when its turn comes.
	aheadBytes = 256 << 10
)

// ahead is a store that reads the next commits of a log while one is being looked at.
// For one goroutine.
type ahead struct {
	objstore.Store
	ctx    context.Context // of the walk
	cancel context.CancelFunc
	work   sync.WaitGroup
	backup string
	window uint64                     // how many are asked for at once: more, as long as they are there
	next   uint64                     // the first that is not asked for yet
	to     uint64                     // the last that is wanted
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

// close ends what is under way.
func (a *ahead) close() {
	a.cancel()
	a.work.Wait()
}

// at says that commit n is wanted now: it is asked for, with those behind it.
func (a *ahead) at(n uint64) {
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

// found says whether a commit had an object of its own: the next ones have one too, or
// are in the same segment.
func (a *ahead) found(own bool) {
	if own {
		a.window = min(2*a.window, aheadCommits)
	} else {
		a.window = 1
	}
}

// Get waits for what is under way.
func (a *ahead) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	c := a.asked[key]
	if c == nil || off != 0 || n >= 0 {
		return a.Store.Get(ctx, key, off, n)
	}
	delete(a.asked, key) // once: who asks again wants to know anew
	f := <-c
	if f.err != nil {
		return nil, f.err
	}
	o := &objstore.Object{ReadCloser: io.NopCloser(bytes.NewReader(f.b)), Info: f.info}
	if f.info.Size > int64(len(f.b)) {
		o.ReadCloser = &continued{Reader: bytes.NewReader(f.b), open: func() (io.ReadCloser, error) {
			return a.Store.Get(ctx, key, int64(len(f.b)), -1)
		}}
	}
	return o, nil
}

// continued reads the beginning of an object, and asks for the rest when that is wanted.
type continued struct {
	io.Reader
	open func() (io.ReadCloser, error) // nil: it was asked for
	rest io.ReadCloser
}

func (c *continued) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err != io.EOF || c.open == nil {
		return n, err
	}
	rest, err := c.open()
	if err != nil {
		return n, err
	}
	c.Reader, c.rest, c.open = rest, rest, nil
	return n, nil
}

func (c *continued) Close() error {
	if c.rest == nil {
		return nil
	}
	return c.rest.Close()
}
