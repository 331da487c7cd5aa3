package master

import (
	"context"
	"os"
	"syscall"
	"time"
)

// binaryEvery is the time between two looks at the program file. A client that stays connected
// opens no connection at which an upgrade could be noticed.
const binaryEvery = 10 * time.Second

// upgradePatience is how long clients may stay connected to the old program. Rolling clients do not
// disconnect by themselves. Two looks, this time and a command are less than a minute.
const upgradePatience = 20 * time.Second

// Binary detects a package upgrade: a service whose program file has changed ends at the next
// opportunity, and master starts the new one (master/service.c, main: inode, size and mtime of
// argv[0]).
type Binary struct {
	path  string
	was   fileID
	every time.Duration // see replaced
}

type fileID struct {
	ino, dev uint64
	size     int64
	mtime    time.Time
}

// WatchBinary records the current file at path.
func WatchBinary(path string) (*Binary, error) {
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	return &Binary{path: path, was: id, every: binaryEvery}, nil
}

// Changed reports whether there is another file now. A missing file does not count, because it is
// being replaced. A nil Binary never changes.
func (b *Binary) Changed() bool {
	if b == nil {
		return false
	}
	now, err := identify(b.path)
	return err == nil && now != b.was
}

// replaced waits until there is another file that did not change between two looks: a file that is
// still being written cannot be started. It returns false when ctx ends. A nil Binary waits for that.
func (b *Binary) replaced(ctx context.Context) bool {
	if b == nil {
		<-ctx.Done()
		return false
	}
	last := b.was
	for {
		select {
		case <-time.After(b.every):
		case <-ctx.Done():
			return false
		}
		now, err := identify(b.path)
		if err != nil {
			now = b.was
		}
		if now != b.was && now == last {
			return true
		}
		last = now
	}
}

func identify(path string) (fileID, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	id := fileID{size: fi.Size(), mtime: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.ino, id.dev = st.Ino, uint64(st.Dev)
	}
	return id, nil
}
