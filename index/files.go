package index

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// files are the files of the index as far as they need room. The files that Badger maps
// have their blocks from the beginning (internal/ristretto). Besides, nothing is written
// unless a reserve is free, and a file that holds room is removed for Badger's last writes.
type files struct {
	dir     string
	reserve int64 // bytes that stay free; 0: nothing of this is done

	// What follows is guarded by Index.commit.
	log  string // the value log that is written to
	used int64  // how much of it may have been
}

// opening is what an index takes when it is opened: its logs, and what it writes out of
// those that a process left that was killed.
const opening = 6 * memTable

// ballast is the size of the file that holds room.
func (f *files) ballast() int64 { return min(f.reserve/4, 4*memTable) }

func (f *files) ballastPath() string { return filepath.Join(f.dir, "RESERVE") }

// short is an error when less than the reserve is free, and more bytes.
func (f *files) short(more int64) error {
	if f.reserve == 0 {
		return nil
	}
	free, err := freeBytes(f.dir)
	if err != nil {
		return fmt.Errorf("ask for free space under %s: %w", f.dir, err)
	}
	if free >= f.reserve+more {
		return nil
	}
	return fmt.Errorf("%w: %s are free under %s, and %s are needed (the reserve, see backup_index_reserve, and what opening it takes): "+
		"make room, it goes on by itself", unix.ENOSPC, humanize.IBytes(uint64(free)), f.dir, humanize.IBytes(uint64(f.reserve+more)))
}

// room is an error when the disk has none for an index that is to be opened. Indexes that
// were set aside go first, the oldest one before.
func (f *files) room(log *slog.Logger) error {
	if f.reserve == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Clean(f.dir), 0o700); err != nil {
		return fmt.Errorf("make index directory: %w", err)
	}
	f.free()
	for {
		err := f.short(f.ballast() + opening)
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		dropped, dropErr := dropAside(f.dir, log)
		if dropErr != nil || !dropped {
			return errors.Join(err, dropErr)
		}
	}
}

// hold takes the room that Badger's last writes need.
func (f *files) hold() error {
	if f.reserve == 0 {
		return nil
	}
	return allocate(f.ballastPath(), f.ballast(), 0)
}

// largeValue is the size from which a value may go to the value log (Badger: 1 MiB).
const largeValue = 512 << 10

// extendLog allocates what n bytes of large values take in the value log: a file of 128 MiB
// that most indexes write nothing to is not allocated in advance.
func (f *files) extendLog(n int64) error {
	logs, err := f.logs()
	if err != nil || len(logs) == 0 {
		return err
	}
	if newest := logs[len(logs)-1]; f.log != newest {
		f.log, f.used = newest, 0
	}
	const margin = 64 << 10 // headers
	if end := f.used + n + margin; end < 2*valueLog {
		err = allocate(f.log, end, unix.FALLOC_FL_KEEP_SIZE)
	}
	if err == nil {
		f.used += n
	}
	return err
}

// logs are the value logs, the newest last.
func (f *files) logs() ([]string, error) { return filepath.Glob(filepath.Join(f.dir, "*.vlog")) }

// oldLogs is the size of the value logs that may have something for Badger's collection.
func (f *files) oldLogs() (n int64) {
	logs, err := f.logs()
	if err != nil || len(logs) == 0 {
		return 0
	}
	for _, path := range logs[:len(logs)-1] {
		if info, err := os.Stat(path); err == nil && info.Size() > largeValue {
			n += info.Size()
		}
	}
	return n
}

// free gives up the room that is held: for Badger to write what it has in memory.
func (f *files) free() {
	if f.reserve > 0 {
		os.Remove(f.ballastPath())
	}
}

// allocate gives the first n bytes of a file blocks. A file system that cannot do that
// has the reserve alone.
func allocate(path string, n int64, mode uint32) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), mode, 0, n)
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return &os.PathError{Op: "allocate", Path: path, Err: err}
}

// freeBytes is what a process without privileges may still write under dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
