package index

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// formatVersion is raised when the meaning of a key or value changes: an index of
// another version is set aside and rebuilt from the buckets.
const formatVersion = "1"

var (
	// ErrNotFound: no such key.
	ErrNotFound = errors.New("not in the index")
	// ErrInUse: another process owns the database.
	ErrInUse = errors.New("the index is in use by another process")
)

// Options are the settings of Open.
type Options struct {
	Logger *slog.Logger // nil discards
	// GCInterval is the time between two collections of Badger's value log; 0 = 10 minutes.
	GCInterval time.Duration
	// BeforeCommit is called before a transaction is committed, and before each part of a
	// long one: tests let the process die there.
	BeforeCommit func()
}

// Index is an open index. Its methods may be called from many goroutines.
type Index struct {
	db   *badger.DB
	log  *slog.Logger
	stop chan struct{}
	done sync.WaitGroup

	beforeCommit func()
}

// Open opens the index in dir, making it where it is missing. One that cannot be
// read, or has another format, is moved aside as dir + ".damaged" (replacing an
// older one) and a new one begins: the buckets hold everything. Only an index in
// use (ErrInUse) and trouble with the directory itself are errors.
func Open(dir string, o Options) (*Index, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.GCInterval == 0 {
		o.GCInterval = 10 * time.Minute
	}
	x, err := open(dir, o)
	if err == nil || errors.Is(err, ErrInUse) || errors.Is(err, os.ErrPermission) {
		return x, err
	}
	o.Logger.Error("index cannot be read: it is set aside and rebuilt from the buckets", "dir", dir, "err", err)
	aside := dir + ".damaged"
	if err := os.RemoveAll(aside); err != nil {
		return nil, fmt.Errorf("set the damaged index aside: %w", err)
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("set the damaged index aside: %w", err)
	}
	return open(dir, o)
}

func open(dir string, o Options) (*Index, error) {
	if err := os.MkdirAll(filepath.Clean(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make index directory: %w", err)
	}
	db, err := badger.Open(settings(dir, o.Logger))
	if err != nil {
		// Badger has no sentinel for this (dir_unix.go).
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	x := &Index{db: db, log: o.Logger, stop: make(chan struct{}), beforeCommit: o.BeforeCommit}
	if err := x.checkVersion(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	x.done.Add(1)
	go x.collect(o.GCInterval)
	return x, nil
}

// settings are tuned for a daemon that shares its host (measured: a third of the
// default's memory, and look-ups twice as fast, for a third more disk).
func settings(dir string, l *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithBaseTableSize(4 << 20).
		WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).
		WithDetectConflicts(false). // one writer a backup, kept apart by package partitions
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMetricsEnabled(false).
		WithLogger(badgerLog{l})
}

func (x *Index) checkVersion() error {
	return x.Update(func(t *Txn) error {
		v, err := t.Get(Key{prefixVersion})
		switch {
		case errors.Is(err, ErrNotFound):
			return t.Set(Key{prefixVersion}, []byte(formatVersion))
		case err != nil:
			return err
		case string(v) != formatVersion:
			return fmt.Errorf("index has format %q, this program writes %q", v, formatVersion)
		}
		return nil
	})
}

// collect runs Badger's own collection; it does nothing by itself.
func (x *Index) collect(every time.Duration) {
	defer x.done.Done()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-x.stop:
			return
		case <-t.C:
			for x.db.RunValueLogGC(0.5) == nil {
				select {
				case <-x.stop:
					return
				default:
				}
			}
		}
	}
}

// Close ends the index. Everything that Update returned nil for is on disk already.
func (x *Index) Close() error {
	close(x.stop)
	x.done.Wait()
	return x.db.Close()
}

// DropBackup removes everything that belongs to backup b, but not its BackupKey.
func (x *Index) DropBackup(b uint64) error {
	for _, p := range backupPrefixes {
		if err := x.dropPrefix(ofBackup(p, b, 0)); err != nil {
			return err
		}
	}
	return nil
}

// DropPartition removes what is known of a partition's packs.
func (x *Index) DropPartition(partition string) error {
	for _, p := range partitionPrefixes {
		if err := x.dropPrefix(Key(string(rune(p)) + partition + "\x00")); err != nil {
			return err
		}
	}
	return nil
}

// DropLosses removes what is known to be lost of a partition.
func (x *Index) DropLosses(partition string) error {
	return x.dropPrefix(LostChunkPrefix(partition, nil))
}

// dropPrefix deletes key by key in bounded transactions: Badger's DropPrefix stops all writes.
func (x *Index) dropPrefix(prefix Key) error {
	return x.UpdateLong(func(t *Txn) error {
		var last Key
		for {
			var keys []Key
			for k, err := range t.Keys(prefix, last, 1000) {
				if err != nil {
					return err
				}
				keys = append(keys, k)
			}
			for _, k := range keys {
				if err := t.Delete(k); err != nil {
					return err
				}
			}
			if len(keys) < 1000 {
				return nil
			}
			last = keys[len(keys)-1]
		}
	})
}

// badgerLog hands Badger's messages to slog, its information as debug.
type badgerLog struct{ l *slog.Logger }

func (b badgerLog) Errorf(f string, a ...any)   { b.l.Error(line(f, a), "op", "badger") }
func (b badgerLog) Warningf(f string, a ...any) { b.l.Warn(line(f, a), "op", "badger") }
func (b badgerLog) Infof(f string, a ...any)    { b.l.Debug(line(f, a), "op", "badger") }
func (b badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
