package master

import (
	"os"
	"syscall"
	"time"
)

// Binary detects a package upgrade: a service whose program file has changed ends at the next
// opportunity, and master starts the new one (master/service.c, main: inode, size and mtime of
// argv[0]).
type Binary struct {
	path string
	was  fileID
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
	return &Binary{path: path, was: id}, nil
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
