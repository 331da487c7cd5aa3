package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// formatVersion is incremented when the meaning of a key or value changes. An index of
// another version is set aside and rebuilt from the buckets.
const formatVersion = "3"

var (
	// ErrNotFound reports a key that does not exist.
	ErrNotFound = errors.New("key not found in the index")
	// ErrInUse reports that another process owns the database.
	ErrInUse = errors.New("the index is in use by another process")
	// ErrUnavailable reports that the index is closed until its disk has space, or until another cause
	// that prevents opening it ends. Nothing was changed; the client is deferred.
	ErrUnavailable = fmt.Errorf("the index is closed for now: %w", cyrus.ErrLocked)
)

// Options are the settings of Open.
type Options struct {
	Logger *slog.Logger // nil discards
	// Reserve is the number of bytes of the file system that the index leaves free; 0: do
	// not check.
	Reserve int64
	// RetryOpen lets Open succeed even if the index cannot be opened now (full disk, no
	// file descriptors, permissions). It is opened as soon as possible.
	RetryOpen bool
	// OnDamage is called, once, if an index that this process has used is found damaged when it
	// is opened again. It stays closed: what the caller has read from it, such as numbers of
	// backups and packs, has no meaning in a new one. The next process sets it aside.
	OnDamage func(error)
	// Watch is the time between two checks of the disk; 0 = 200 ms.
	Watch time.Duration
	// GCInterval is the time between two collections of Badger's value log; 0 = 10 minutes.
	GCInterval time.Duration
	// FilterMemory is the most memory, in bytes, of a filter that knows which messages the index
	// lacks; 10 million messages in one backup take 24 MiB. Above, it knows fewer of them. 0: no
	// filter, and every message is looked up.
	FilterMemory int64
	// OnCommit is called to commit a transaction, or a part of a long one, and returns the
	// result of commit. Tests use it to observe commits, to let the process die, or to
	// return a disk error without calling commit.
	OnCommit func(commit func() error) error
	// OnRead is called for each key that is looked up, and with the prefix of each range that
	// is read, from many goroutines. Tests count reads with it.
	OnRead func(Key)
}

// Index is an index that is open, or will be opened. Its methods may be called from many
// goroutines.
type Index struct {
	dir  string
	opt  Options
	log  *slog.Logger
	end  context.CancelFunc
	done sync.WaitGroup
	poke chan struct{} // wakes the keeper

	// commit is held during each commit: Badger has one writer, which does not survive a
	// second write after a write for which it had no file.
	commit sync.Mutex
	files  files
	mapped mappedPages
	filter filter

	mu     sync.Mutex
	db     *badger.DB    // nil while the index is closed
	users  int           // transactions that use db
	idle   chan struct{} // closed when users becomes 0 while somebody waits; nil: nobody waits
	reason error         // why db is nil, or is about to be
	opened bool          // once, by this process
	damage sync.Once     // calls OnDamage
}

// Open opens the index in dir and creates it if missing. An index that is unreadable or has
// another format is set aside as dir + ".damaged" and a new one is created, because the
// buckets contain everything. If an intact index cannot be opened now, Open returns an
// error or retries (Options.RetryOpen). An index in use is always an error (ErrInUse).
func Open(dir string, o Options) (*Index, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.GCInterval == 0 {
		o.GCInterval = 10 * time.Minute
	}
	if o.Watch == 0 {
		o.Watch = 200 * time.Millisecond
	}
	if o.OnCommit == nil {
		o.OnCommit = func(commit func() error) error { return commit() }
	}
	if o.OnDamage == nil {
		o.OnDamage = func(error) {}
	}
	if o.OnRead == nil {
		o.OnRead = func(Key) {}
	}
	x := &Index{dir: dir, opt: o, log: o.Logger, poke: make(chan struct{}, 1), files: files{dir: dir, reserve: o.Reserve}}
	if err := x.open(); err != nil {
		if !o.RetryOpen || errors.Is(err, ErrInUse) {
			return nil, err
		}
		x.unavailable(err)
	}
	ctx, end := context.WithCancel(context.Background())
	x.end = end
	x.startFilter(ctx)
	x.done.Go(func() { x.keep(ctx) })
	return x, nil
}

// Close closes the index. Everything for which Update returned nil is already on disk.
func (x *Index) Close() error {
	x.end()
	x.done.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return errors.Join(x.shut(ctx, errClosed), x.mapped.memory.close())
}

// errClosed is the reason of an index after Close.
var errClosed = errors.New("index was closed")

// use gives a transaction access to the database; release ends the access.
func (x *Index) use() (db *badger.DB, release func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil || x.reason != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, x.reason)
	}
	x.users++
	return x.db, x.release, nil
}

func (x *Index) release() {
	x.mapped.ended(x.log)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.users--
	if x.users == 0 && x.idle != nil {
		close(x.idle)
		x.idle = nil
	}
}

// refuse prevents new transactions and commits of running ones. The keeper then closes the
// database.
func (x *Index) refuse(why error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason == nil {
		x.reason = why
	}
	select {
	case x.poke <- struct{}{}:
	default:
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, x.reason)
}

// refused returns the reason why commits are refused, or nil.
func (x *Index) refused() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reason
}

// shut closes the database when the last transaction has ended. Badger then writes its
// memory to disk, into the space held for that. After ctx ends it waits for closeTime at
// most.
func (x *Index) shut(ctx context.Context, why error) error {
	db, idle := x.takeDB(why)
	if db == nil {
		return nil
	}
	x.files.free()
	done := make(chan error, 1)
	go func() {
		<-idle
		done <- db.Close()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(closeTime):
		return fmt.Errorf("the index is not closed after %s; its disk may be full. Data in memory is also in the index's log, so nothing is lost", closeTime)
	}
}

// closeTime limits how long the end of a process waits for Badger, which retries writing
// its memory forever. The next opening reads all of that from the log.
const closeTime = 20 * time.Second

// takeDB prevents new transactions; idle is closed when the last one has ended.
func (x *Index) takeDB(why error) (db *badger.DB, idle <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason == nil {
		x.reason = why
	}
	db, x.db = x.db, nil
	none := make(chan struct{})
	if x.users > 0 {
		x.idle = none
	} else {
		close(none)
	}
	return db, none
}

// DropBackup removes all keys of backup b except its BackupKey.
func (x *Index) DropBackup(b uint64) error {
	for _, p := range backupPrefixes {
		if err := x.dropPrefix(ofBackup(p, b, 0)); err != nil {
			return err
		}
	}
	return nil
}

// DropPartition removes the cached contents of a partition's packs.
func (x *Index) DropPartition(partition string) error {
	for _, p := range partitionPrefixes {
		if err := x.dropPrefix(Key(string(rune(p)) + partition + "\x00")); err != nil {
			return err
		}
	}
	return nil
}

// DropLosses removes the recorded losses of a partition.
func (x *Index) DropLosses(partition string) error {
	return x.dropPrefix(LostKey(partition, nil))
}

// DropSent removes the keys SentKey of the periods before one.
func (x *Index) DropSent(before uint32) error {
	for {
		var first Key
		err := x.View(func(t *Txn) error {
			for k, err := range t.Keys(Key{prefixSent}, nil, 1) {
				first = k
				return err
			}
			return nil
		})
		if err != nil || first == nil || sentPeriodOf(first) >= before {
			return err
		}
		if err := x.dropPrefix(SentPrefix(sentPeriodOf(first))); err != nil {
			return err
		}
	}
}

// dropAtOnce is the number of keys that dropPrefix reads at a time. Each reading sorts the
// transaction's writes.
const dropAtOnce = 8192

// dropPrefix deletes keys in transactions of limited size, because Badger's DropPrefix
// stops all writes.
func (x *Index) dropPrefix(prefix Key) error {
	return x.UpdateLong(func(t *Txn) error {
		var last Key
		for {
			var keys []Key
			for k, err := range t.Keys(prefix, last, dropAtOnce) {
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
			if len(keys) < dropAtOnce {
				return nil
			}
			last = keys[len(keys)-1]
		}
	})
}
