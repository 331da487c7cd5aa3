package index

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"
)

const (
	memTable = 8 << 20
	// valueLog limits the size of a value; large values go to the value log, see
	// largeValue. The file is sparse: the index allocates the parts that it writes.
	valueLog = 64 << 20
)

// open opens the index, or a new one in place of a damaged one.
func (x *Index) open() error {
	if err := x.files.room(x.log); err != nil {
		return err
	}
	db, err := x.openOnce()
	if err != nil && !isTransient(err) && x.wasOpen() {
		err = fmt.Errorf("%w: %w", errDamaged, err)
		x.damage.Do(func() { x.opt.OnDamage(err) })
		return err
	}
	if err != nil && !isTransient(err) {
		x.log.Error("the index is unreadable: it is set aside and rebuilt from the buckets", "dir", x.dir, "err", err)
		if err := setAside(x.dir, x.log); err != nil {
			return fmt.Errorf("set the damaged index aside: %w", err)
		}
		db, err = x.openOnce()
	}
	if err != nil {
		return err
	}
	if err := x.files.hold(); err != nil {
		x.files.free()
		return errors.Join(err, db.Close())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.db, x.reason, x.opened = db, nil, true
	return nil
}

// errDamaged is the reason of an index that only another process may replace.
var errDamaged = errors.New("the index is damaged; the next process sets it aside and rebuilds it from the buckets")

func (x *Index) wasOpen() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.opened
}

// openOnce opens the existing database. An error for which isTransient is true is not
// damage.
func (x *Index) openOnce() (db *badger.DB, err error) {
	if err := os.MkdirAll(filepath.Clean(x.dir), 0o700); err != nil {
		return nil, fmt.Errorf("make index directory: %w", err)
	}
	if err := accessible(x.dir); err != nil {
		return nil, fmt.Errorf("open index %s: %w", x.dir, err)
	}
	settled, err := beginOpening(x.dir)
	if err != nil {
		return nil, err
	}
	defer settled()
	defer func() {
		if p := recover(); p != nil { // Badger trusts its files
			db, err = nil, fmt.Errorf("open index %s: %v", x.dir, p)
		}
	}()
	db, err = badger.Open(settings(x.dir, x.log))
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", x.dir, openError(err))
	}
	if err := checkVersion(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// settings suit a daemon that shares its host (measured: a third of the default's memory
// and lookups twice as fast, for a third more disk).
func settings(dir string, l *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(memTable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		// A table takes its size in memory while it is built. There may be many of them, because
		// they keep no file descriptors (internal/ristretto).
		WithBaseTableSize(4 << 20).
		WithValueLogFileSize(valueLog).
		WithNumCompactors(2).
		WithDetectConflicts(false). // one writer per backup; package partitions keeps them apart
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMetricsEnabled(false).
		WithLogger(badgerLog{l})
	o.TableSizeMultiplier = 1 // not larger in lower levels
	return o
}

func checkVersion(db *badger.DB) error {
	return db.Update(func(t *badger.Txn) error {
		i, err := t.Get(Key{prefixVersion})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return t.Set(Key{prefixVersion}, []byte(formatVersion))
		}
		if err != nil {
			return err
		}
		return i.Value(func(v []byte) error {
			if string(v) != formatVersion {
				return fmt.Errorf("index has format %q, this program writes %q", v, formatVersion)
			}
			return nil
		})
	})
}

// accessible checks for conditions that make Badger end the process or that look like
// damage: files without permission, and too few file descriptors to open them all.
func accessible(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range append([]string{"."}, fileNames(names)...) {
		path := filepath.Join(dir, n)
		if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "access", Path: path, Err: err}
		}
	}
	const spare = 24 // directories, pipes, tables while they are opened, new files
	var probes []*os.File
	defer func() {
		for _, f := range probes {
			_ = f.Close()
		}
	}()
	for range withDescriptor(names) + spare {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		probes = append(probes, f)
	}
	return nil
}

// withDescriptor returns how many of the files keep a descriptor: all but tables
// (internal/ristretto).
func withDescriptor(entries []os.DirEntry) (n int) {
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".sst" {
			n++
		}
	}
	return n
}

func fileNames(entries []os.DirEntry) (names []string) {
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// maxLostOpenings is the number of processes that may die while they open an index before
// it is treated as damaged. An unreadable page, or a file that fails an assertion in
// Badger, ends the process, and master(8) disables a service that dies five times.
const maxLostOpenings = 2

// beginOpening records in dir + ".opening" that the index is being opened; settled removes
// the file. It returns an error if too many processes have left their mark.
func beginOpening(dir string) (settled func(), err error) {
	note := filepath.Clean(dir) + ".opening"
	b, _ := os.ReadFile(note)
	lost, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	settled = func() { _ = os.Remove(note) }
	if lost >= maxLostOpenings {
		settled()
		return nil, fmt.Errorf("%d processes have died while opening the index", lost)
	}
	// Open the index even without the mark: a full disk may have no room for it.
	_ = os.WriteFile(note, fmt.Appendln(nil, lost+1), 0o600)
	return settled, nil
}

// openError adds the kind of error to Badger's errors, which have no sentinels and contain
// their causes only as text.
func openError(err error) error {
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "Cannot acquire directory lock") { // dir_unix.go
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	for _, e := range transientErrnos {
		if strings.Contains(err.Error(), e.Error()) {
			return fmt.Errorf("%w (%w)", err, e)
		}
	}
	return err
}

// transientErrnos are errors unrelated to the content of the index: it can be opened when
// its environment allows.
var transientErrnos = [...]unix.Errno{
	unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSPC, unix.EDQUOT, unix.EACCES, unix.EPERM,
	unix.EROFS, unix.ENOTDIR, unix.ESTALE, unix.EBUSY, unix.ENODEV, unix.ETXTBSY,
}

// isTransient reports whether err is not caused by a damaged index.
func isTransient(err error) bool { return kind(err) != nil }

// kind returns the cause that two errors may share, to log each cause once.
func kind(err error) error {
	if errors.Is(err, ErrInUse) {
		return ErrInUse
	}
	for _, e := range transientErrnos {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}
