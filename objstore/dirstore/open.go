// Package dirstore is the objstore driver for a directory: an object is a file, and its
// key is the path below the root. Several processes and, over NFS, several hosts may use
// one root.
//
// # Durability
//
// A visible object need not be durable. It is durable after a successful fsync of the
// file, of its directory and of the directories above ("Calling fsync() does not
// necessarily ensure that the entry in the directory containing the file has also
// reached disk", fsync(2)). Put syncs all of them before it returns nil. But a put whose
// directory could not be synced leaves a visible file, and so does a process that was
// killed between link and fsync. A reader would take that file for a success. So Stat,
// Get and the ErrExist of Put guarantee durability, too: they first sync an object unless
// this process knows that it is durable. It knows this for objects that it put or synced,
// and for objects older than an hour, which the kernel wrote long ago, so that steady use
// costs no fsync. List guarantees nothing.
//
// After a failed fsync, a second one proves nothing. Linux may have marked the dirty
// pages clean, and it reports the error once: later calls succeed without the data
// ("PostgreSQL's fsync() surprise", https://lwn.net/Articles/752063/; Rebello et al.,
// "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Therefore:
//
//   - a file that could not be synced is discarded. The next put writes a new one;
//   - entries in a directory are made and synced by one call at a time, and an entry made
//     before a failed fsync of its directory is made again: the object is copied to a new
//     file that replaces it (rename), with the same bytes and times;
//   - a directory whose entry could not be synced is removed, while it is empty, and made
//     again. A directory that is not empty was filled after its entry had been synced.
//
// The failures of another process are unknown here, so its files get a plain fsync. That
// suffices if a file system stops (read-only, shut down) when it cannot write its own
// metadata, as file systems with a journal or copy-on-write do (ext4, XFS, btrfs). On
// ext2, or ext4 without its journal, losing an entry takes a failed fsync, a kill before
// the repetition, and a power cut.
//
// A deletion is durable after nil in the same way, except in the second case: an object
// whose removal was lost reappears, which is harmless.
//
// # Hanging system calls
//
// A system call on a dead NFS server or a stuck disk cannot be interrupted. Each operation
// runs in a separate goroutine, and its caller leaves when its context ends, or when one
// system call has taken longer than Options.CallTimeout. That is a temporary error with an
// unclear outcome, like any other. An abandoned call ends before its next system call,
// reads no more of the caller's body, and releases what it holds. At most maxCalls run in
// a store, so the number of threads is limited, too.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// hidden is the directory in the root for files that are not objects: temporary files, the
// lock, the clock. If it is missing, the root is not the directory that was opened, for
// example because a disk is no longer mounted.
const hidden = ".objstore"

// staleTemp is the age at which a temporary file can only come from a process that died
// during a put.
const staleTemp = 24 * time.Hour

// maxSynced limits the number of remembered durable directories.
const maxSynced = 4096

// Options of OpenWith.
type Options struct {
	// CallTimeout is how long one system call may take before the operation fails with a
	// temporary error; 0: 30 s.
	CallTimeout time.Duration
	Logger      *slog.Logger // logs when the directory hangs and when it answers again; nil discards
	// ReadOnly creates nothing: a missing root is ErrNoBucket, and puts and deletions are ErrDenied. A
	// tool that root runs would otherwise leave directories and locks that the server's user cannot use.
	ReadOnly bool
}

// Store is a directory.
type Store struct {
	root        string
	page        int
	callTimeout time.Duration
	log         *slog.Logger
	readOnly    bool
	owner       owner
	clock       string // path of a file; "" if the root is read-only: no store time, no puts
	lock        *lock
	calls       chan struct{} // a token for each running call
	// trap, in tests, is called before each system call.
	trap func(name, path string, do func() error) error

	mu       sync.Mutex
	synced   map[string]struct{} // directories whose entry in their parent is durable
	known    map[string]version  // durable objects
	doubts   map[string]doubt    // directories with a failed fsync
	dirLocks map[string]*dirLock // of directories
	hung     int                 // abandoned calls that have not ended
}

var _ objstore.Store = (*Store)(nil)

// Open is OpenWith without options.
func Open(root string) (*Store, error) { return OpenWith(context.Background(), root, Options{}) }

// OpenWith opens the root and creates it (0700) if only its last part is missing. A missing
// parent means that a disk is not mounted: ErrNoBucket. On a read-only file system reads
// work and puts are ErrDenied. Close frees the files.
func OpenWith(ctx context.Context, root string, o Options) (*Store, error) {
	s := storeAt(root, o)
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("open directory %s: %w", root, err)
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	_, err := run(ctx, s, "open", s.root, nil, func(c *call) (struct{}, error) { return struct{}{}, s.open(c) })
	return err
}

func storeAt(root string, o Options) *Store {
	if o.CallTimeout <= 0 {
		o.CallTimeout = defaultCallTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{
		root: filepath.Clean(root), page: defaultPage, callTimeout: o.CallTimeout, log: o.Logger, readOnly: o.ReadOnly,
		calls:  make(chan struct{}, maxCalls),
		synced: map[string]struct{}{}, known: map[string]version{}, doubts: map[string]doubt{}, dirLocks: map[string]*dirLock{},
	}
}

func (s *Store) open(c *call) error {
	if !filepath.IsAbs(s.root) {
		return errors.New("path is not absolute")
	}
	var info fs.FileInfo
	err := c.do("stat", s.root, func() (err error) {
		info, err = os.Stat(s.root)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.readOnly:
		err = fmt.Errorf("%w: %s", objstore.ErrNoBucket, s.root)
	case errors.Is(err, fs.ErrNotExist):
		err = s.makeRoot(c)
	case err == nil && !info.IsDir():
		err = unix.ENOTDIR
	case err == nil:
		s.owner = ownerOf(info, os.Geteuid())
	}
	if err != nil {
		return outcome(err)
	}
	if s.readOnly {
		return s.findClock(c)
	}
	switch err := s.openHidden(c); {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		s.clock, s.lock = "", nil
		return nil
	case err != nil:
		return outcome(err)
	}
	return s.sweep(c)
}

// makeRoot makes the root durably. If it cannot be synced, it is removed while still empty.
func (s *Store) makeRoot(c *call) error {
	err := c.do("stat", filepath.Dir(s.root), func() error {
		parent, err := os.Stat(filepath.Dir(s.root))
		if err == nil {
			s.owner = ownerOf(parent, os.Geteuid())
		}
		return err
	})
	if err == nil {
		err = s.mkdir(c, s.root)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", objstore.ErrNoBucket, filepath.Dir(s.root))
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	if err := s.syncRoot(c); err != nil {
		return errors.Join(err, c.always("rmdir", s.root, func() error { return unix.Rmdir(s.root) }))
	}
	return nil
}

func (s *Store) openHidden(c *call) error {
	dir := s.path(hidden)
	if err := s.mkdir(c, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lockFile, err := s.openOrCreate(c, filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	clock, err := s.openOrCreate(c, filepath.Join(dir, "clock"))
	if err == nil {
		err = clock.Close()
	}
	if err != nil {
		return errors.Join(err, lockFile.Close())
	}
	s.clock, s.lock = clock.Name(), newLock(lockFile)
	return nil
}

// findClock uses the clock that a writer has made. Without it, answers state no time.
func (s *Store) findClock(c *call) error {
	clock := filepath.Join(s.path(hidden), "clock")
	err := c.do("stat", clock, func() error { return unix.Access(clock, unix.W_OK) })
	if left(err) {
		return err
	}
	if err == nil {
		s.clock = clock
	}
	return nil
}

// sweep removes temporary files of crashed puts.
func (s *Store) sweep(c *call) error {
	now := s.now(c)
	files, err := filepath.Glob(filepath.Join(s.path(hidden), tempPattern))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		info, err := os.Lstat(file)
		if err != nil || now.IsZero() || now.Sub(info.ModTime()) < staleTemp {
			continue // already removed, or in use
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return outcome(err)
		}
	}
	return nil
}

// Close closes the lock file. Concurrent puts fail.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}

// now returns the file system's time: the time that a file gets when touched now. On NFS
// that is the server's time, the same for all hosts. It takes two system calls and returns
// zero if the file system is read-only.
func (s *Store) now(c *call) time.Time {
	if s.clock == "" {
		return time.Time{}
	}
	var t time.Time
	err := c.do("clock", s.clock, func() error {
		if err := utimens(s.clock, unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}); err != nil {
			return err
		}
		info, err := os.Stat(s.clock)
		if err == nil {
			t = info.ModTime()
		}
		return err
	})
	if err != nil {
		return time.Time{}
	}
	return t
}

func (s *Store) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// check refuses a call that need not reach the disk.
func (s *Store) check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if isHidden(key) {
		return fmt.Errorf("%w: %s/ is reserved for the store", objstore.ErrKey, hidden)
	}
	return nil
}
