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

// files manages the disk space of the index. The files that Badger maps are allocated in
// advance (internal/ristretto). In addition, nothing is written unless a reserve is free,
// and a ballast file is removed to make space for Badger's last writes.
type files struct {
	dir     string
	reserve int64 // bytes that stay free; 0: no checks

	// The fields below are guarded by Index.commit.
	log  string // the current value log
	used int64  // bytes of it that may be in use
}

// openingSpace is the space needed to open an index: for its logs, and for the data from
// logs of a killed process.
const openingSpace = 6 * memTable

// ballast is the size of the ballast file.
func (f *files) ballast() int64 { return min(f.reserve/4, 4*memTable) }

func (f *files) ballastPath() string { return filepath.Join(f.dir, "RESERVE") }

// short returns an error if less than the reserve plus more bytes is free.
func (f *files) short(more int64) error {
	if f.reserve == 0 {
		return nil
	}
	free, err := freeBytes(f.dir)
	if err != nil {
		return fmt.Errorf("check free space under %s: %w", f.dir, err)
	}
	if free >= f.reserve+more {
		return nil
	}
	return fmt.Errorf("%w: %s free under %s, %s needed (backup_index_reserve, plus the space to open the index): "+
		"free some space; the index then continues by itself", unix.ENOSPC, humanize.IBytes(uint64(free)), f.dir, humanize.IBytes(uint64(f.reserve+more)))
}

// room returns an error if the disk has no space to open an index. It first removes indexes
// that were set aside, oldest first.
func (f *files) room(log *slog.Logger) error {
	if f.reserve == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Clean(f.dir), 0o700); err != nil {
		return fmt.Errorf("make index directory: %w", err)
	}
	f.free()
	for {
		err := f.short(f.ballast() + openingSpace)
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		dropped, dropErr := dropAside(f.dir, log)
		if dropErr != nil || !dropped {
			return errors.Join(err, dropErr)
		}
	}
}

// hold reserves the space for Badger's last writes.
func (f *files) hold() error {
	if f.reserve == 0 {
		return nil
	}
	return allocate(f.ballastPath(), f.ballast(), 0)
}

// largeValue is the size above which a value may go to the value log (Badger: 1 MiB).
const largeValue = 512 << 10

// extendLog allocates space in the value log for n bytes of large values. The file of 128
// MiB is not allocated in advance because most indexes write nothing to it.
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

// logs returns the value logs, newest last.
func (f *files) logs() ([]string, error) { return filepath.Glob(filepath.Join(f.dir, "*.vlog")) }

// oldLogs returns the size of the value logs that Badger's collection may shrink.
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

// free releases the held space so that Badger can write its memory to disk.
func (f *files) free() {
	if f.reserve > 0 {
		_ = os.Remove(f.ballastPath())
	}
}

// allocate allocates blocks for the first n bytes of a file. On a file system without this
// feature only the reserve protects the index.
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

// freeBytes returns the space that an unprivileged process may still use under dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
