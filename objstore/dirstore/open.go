// Package dirstore is the objstore driver on a directory: an object is a file, its
// key the path below the root. Several processes and, over NFS, several hosts may use one root.
//
// # What is durable
//
// An object that can be seen need not be durable. It is after a successful fsync of the
// file, of its directory and of the directories above ("Calling fsync() does not
// necessarily ensure that the entry in the directory containing the file has also
// reached disk", fsync(2)). Put syncs all of them before it answers nil. But a put whose
// directory could not be synced leaves its file to be seen, and so does a process that
// was killed between link and fsync. Whoever reads that back would take it for success.
// So Stat, Get and the ErrExist of Put answer for durability, too: they first sync an
// object that this process does not know to be durable. What it put or synced itself it
// knows, and what is older than an hour the kernel has written long ago, so that steady
// use costs no fsync. List answers for nothing.
//
// A second fsync proves nothing after one that failed. Linux may have marked the dirty
// pages clean, and it reports the error once: later calls succeed without the data
// ("PostgreSQL's fsync() surprise", https://lwn.net/Articles/752063/; Rebello et al.,
// "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So
//
//   - a file that could not be synced is thrown away. The next put writes another one;
//   - entries are made and synced by one call at a time in a directory, and an entry that
//     was made before a failed fsync of its directory is made once more: the object is
//     copied to a new file that replaces it (rename), under the same bytes and times;
//   - a directory whose entry could not be synced is removed, while it is empty, and
//     made once more. One that is not empty was filled after its entry had been synced.
//
// What another process saw fail is not known here, and a plain fsync has to do for what
// it left. That is enough where a file system stops (read-only, shut down) when it cannot
// write its own metadata, as those with a journal or copy-on-write do (ext4, XFS, btrfs).
// On ext2, or ext4 without its journal, it takes a failed fsync, a kill before the
// repetition and a power cut to lose an entry.
//
// A deletion is durable after nil in the same way, but for the second kind: an object
// whose removal was dropped comes back, which does no harm.
//
// # What hangs
//
// No system call on a dead NFS server or a stuck disk can be interrupted. Each operation
// runs in a goroutine of its own, and its caller leaves when its context ends, or when one
// system call has taken longer than Options.Patience: that is a temporary error, and the
// outcome is unclear, as after any other. A call that was left ends before its next
// system call, reads no more of the caller's body, and lets go of what it holds. At most
// maxCalls are under way in a store, so threads are bounded, too.
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

// hidden is the directory in the root for what is not an object: temporary files,
// the lock, the clock. Its absence shows that the root is another one than at Open,
// as when a disk is no longer mounted.
const hidden = ".objstore"

// staleTemp is the age at which a temporary file can only be a leftover of a process
// that ended in the middle of a put.
const staleTemp = 24 * time.Hour

// maxSynced bounds the memory of which directories are known to be durable.
const maxSynced = 4096

// Options of OpenWith.
type Options struct {
	// Patience is how long one system call may take before the operation is given up with
	// a temporary error; 0: 30 s.
	Patience time.Duration
	Logger   *slog.Logger // hears when the directory hangs, and when it does not any more; nil: nobody does
}

// Store is a directory.
type Store struct {
	root     string
	page     int
	patience time.Duration
	log      *slog.Logger
	clock    string // a file's path; "" when the root is read-only: no store time, no puts
	lock     *lock
	calls    chan struct{} // a token for each call under way
	// trap, in tests, sees each system call before it is made.
	trap func(name, path string, do func() error) error

	mu     sync.Mutex
	synced map[string]struct{} // directories whose entry in their parent is durable
	known  map[string]version  // objects that are durable
	doubts map[string]doubt    // directories of which an fsync failed
	turns  map[string]*turn    // of directories
	hung   int                 // calls that were given up and have not ended
}

var _ objstore.Store = (*Store)(nil)

// Open is OpenWith without options.
func Open(root string) (*Store, error) { return OpenWith(context.Background(), root, Options{}) }

// OpenWith opens the root, and makes it (0700) when only its last part is missing: a
// parent that is missing is taken for a disk that is not mounted, ErrNoBucket. On a
// read-only file system reading works and puts are ErrDenied. Close frees the files.
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
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{
		root: filepath.Clean(root), page: defaultPage, patience: o.Patience, log: o.Logger,
		calls:  make(chan struct{}, maxCalls),
		synced: map[string]struct{}{}, known: map[string]version{}, doubts: map[string]doubt{}, turns: map[string]*turn{},
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
	if errors.Is(err, fs.ErrNotExist) {
		err = s.makeRoot(c)
	} else if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return outcome(err)
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

// makeRoot makes the root durably. One that could not be synced goes again, while it is empty.
func (s *Store) makeRoot(c *call) error {
	err := c.do("mkdir", s.root, func() error { return os.Mkdir(s.root, 0o700) })
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
	if err := c.do("mkdir", dir, func() error { return os.Mkdir(dir, 0o700) }); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lockFile, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	clock, err := os.OpenFile(filepath.Join(dir, "clock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = clock.Close()
	}
	if err != nil {
		return errors.Join(err, lockFile.Close())
	}
	s.clock, s.lock = clock.Name(), newLock(lockFile)
	return nil
}

// sweep removes what crashed puts left behind.
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
			continue // gone meanwhile, or in use
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return outcome(err)
		}
	}
	return nil
}

// Close frees the lock file. Puts under way fail.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}

// now is the file system's clock: the time that it gives to a file touched now. On
// NFS that is the server's, the same for all hosts. Two system calls; zero when the
// file system is read-only.
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
		return fmt.Errorf("%w: %s/ is the store's own", objstore.ErrKey, hidden)
	}
	return nil
}
