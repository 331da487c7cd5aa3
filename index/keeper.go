package index

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// maxReopenPause is the longest pause between attempts to open an index.
const maxReopenPause = 5 * time.Second

// keep maintains the index until ctx ends: it closes the index before its disk is full,
// opens it when there is space, and runs Badger's garbage collection.
func (x *Index) keep(ctx context.Context) {
	collected := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.poke:
		case <-time.After(x.mapped.watch(x.opt.Watch)):
		}
		if x.closed() {
			x.reopen(ctx)
			continue
		}
		x.mapped.bound(x.log)
		if err := x.check(); err != nil {
			x.suspend(ctx, err)
			continue
		}
		if time.Since(collected) >= x.opt.GCInterval {
			x.collect(ctx)
			collected = time.Now()
		}
	}
}

func (x *Index) closed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.db == nil
}

// check returns an error if the index must be closed.
func (x *Index) check() error {
	if err := x.refused(); err != nil {
		return err
	}
	return x.files.short(0)
}

// suspend closes the index temporarily.
func (x *Index) suspend(ctx context.Context, why error) {
	x.unavailable(why)
	if err := x.shut(ctx, why); err != nil {
		x.log.Error("close the index", "dir", x.dir, "err", err)
	}
}

// unavailable records why the index is closed and logs it once.
func (x *Index) unavailable(why error) {
	x.mu.Lock()
	x.reason = why
	x.mu.Unlock()
	x.log.Error("the index is closed: clients are deferred until it can be opened", "dir", x.dir, "err", why)
}

// reopen retries until the index is open or ctx ends.
func (x *Index) reopen(ctx context.Context) {
	since, pause := time.Now(), x.opt.Watch
	for {
		err := x.open()
		if err == nil {
			x.log.Warn("the index is open again", "dir", x.dir, "closed", time.Since(since).Round(time.Millisecond).String())
			return
		}
		if !errors.Is(kind(err), kind(x.refused())) {
			x.unavailable(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxReopenPause)
	}
}

// collect runs Badger's garbage collection, which does not run by itself.
func (x *Index) collect(ctx context.Context) {
	db, release, err := x.use()
	if err != nil {
		return
	}
	defer release()
	x.commit.Lock()
	defer x.commit.Unlock()
	for ctx.Err() == nil {
		moves := x.files.oldLogs()
		if moves == 0 || x.files.short(moves) != nil || x.files.extendLog(moves) != nil || db.RunValueLogGC(0.5) != nil {
			return
		}
	}
}

// Status is the state of an index, for metrics.
type Status struct {
	Open     bool
	Free     int64 // bytes of its file system; -1: unknown
	SetAside int   // damaged indexes that are kept
	Bytes    int64 // that its files take on the disk
}

// Status returns the state of the index and its disk.
func (x *Index) Status() Status {
	s := Status{Open: x.refused() == nil, Free: -1, SetAside: SetAside(x.dir)}
	if free, err := freeBytes(x.dir); err == nil {
		s.Free = free
	}
	s.Bytes = bytesIn(x.dir)
	return s
}

// bytesIn returns what the files in a directory take on the disk: some are sparse. A file that is removed
// meanwhile counts as nothing.
func bytesIn(dir string) (n int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				n += s.Blocks * 512 // stat(2)
			}
		}
	}
	return n
}
