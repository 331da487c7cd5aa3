package master

import (
	"os"
	"syscall"
	"time"
)

// Binary remembers the program file, so that a package upgrade is noticed: a service
// whose own file has changed ends at the next chance and master starts the new one
// (master/service.c, main: inode, size and mtime of argv[0]).
type Binary struct {
	path string
	was  fileID
}

type fileID struct {
	ino, dev uint64
	size     int64
	mtime    time.Time
}

// WatchBinary remembers the file at path as it is now.
func WatchBinary(path string) (*Binary, error) {
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	return &Binary{path: path, was: id}, nil
}

// Changed reports whether another file is there now. A missing one is in the middle
// of being replaced, and not yet something to restart into. A nil Binary never changes.
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
