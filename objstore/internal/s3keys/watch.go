package s3keys

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// renewPause is the minimum time between two renewals of the keys if no file has changed.
const renewPause = 5 * time.Second

// Watched holds keys in the form that a driver needs. They are made from files and made
// again when a file changes. Its methods may be called from many goroutines.
type Watched[T any] struct {
	o     Watching[T]
	files []string

	mu         sync.Mutex
	value      T
	stamp      string
	generation uint64
	renewed    time.Time
	broken     bool // the current files are unreadable, which has been logged

	refused atomic.Uint64 // one more than the generation that the store rejected, which has been logged
}

// Watching configures Watch.
type Watching[T any] struct {
	Options
	Load func() (T, error)
	// Same reports whether two values are equivalent.
	Same func(a, b T) bool
}

// Watch loads the keys.
func Watch[T any](w Watching[T]) (*Watched[T], error) {
	if w.Log == nil {
		w.Log = slog.New(slog.DiscardHandler)
	}
	out := &Watched[T]{o: w, files: w.files()}
	out.stamp = out.look()
	var err error
	out.value, err = w.Load()
	return out, err
}

// look describes the current state of the files.
func (w *Watched[T]) look() string {
	var b strings.Builder
	for _, path := range w.files {
		if info, err := os.Stat(path); err == nil {
			var inode uint64
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				inode = sys.Ino
			}
			fmt.Fprintf(&b, "%s %d %d %d\n", path, info.Size(), info.ModTime().UnixNano(), inode)
		}
	}
	return b.String()
}

// Changed reports whether Get would read the files.
func (w *Watched[T]) Changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.look() != w.stamp
}

// Get returns the keys, and reads them again if a file has changed. If a file is unusable,
// for example because it is being written, the keys stay unchanged.
func (w *Watched[T]) Get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.look(); now != w.stamp {
		w.load(now)
	}
	return w.value
}

// load makes the keys again. The caller holds mu.
func (w *Watched[T]) load(stamp string) {
	value, err := w.o.Load()
	if err != nil {
		if !w.broken {
			w.o.Log.Warn("the keys of the bucket cannot be read again; using the old ones", "err", err)
		}
		w.broken = true
		return
	}
	changed := stamp != w.stamp
	w.stamp, w.broken = stamp, false
	if w.o.Same(w.value, value) {
		return
	}
	w.value = value
	w.generation++
	if changed {
		w.o.Log.Info("the keys of the bucket were read again", "files", strings.Join(w.files, " "))
	}
}

// Generation distinguishes the current keys from later ones.
func (w *Watched[T]) Generation() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generation
}

// Renew gets the keys again after the store has refused a request with the keys of a
// generation, and reports whether they have changed. force: even if no file has changed.
func (w *Watched[T]) Renew(generation uint64, force bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.look()
	force = force && time.Since(w.renewed) > renewPause
	if w.generation == generation && (force || now != w.stamp) {
		w.renewed = time.Now()
		w.load(now)
	}
	return w.generation != generation
}

// note logs once for each generation that the store rejects it, and once that the store
// accepts a generation again.
func (w *Watched[T]) note(err error) {
	switch {
	case errors.Is(err, objstore.ErrCredentials):
		if g := w.Generation() + 1; w.refused.Swap(g) != g {
			w.o.Log.Error("the store does not accept the keys of the bucket; clients are deferred until it does", "err", err)
		}
	case err == nil && w.refused.Load() != 0:
		if w.refused.Swap(0) != 0 {
			w.o.Log.Info("the store accepts the keys of the bucket again")
		}
	}
}

// Try makes a request, and repeats it once if the store refuses it and the keys have
// changed since. Some stores answer AccessDenied for an unknown key.
func (w *Watched[T]) Try(request func() error) error {
	generation := w.Generation()
	err := request()
	if errors.Is(err, objstore.ErrDenied) && w.Renew(generation, errors.Is(err, objstore.ErrCredentials)) {
		err = request()
	}
	w.note(err)
	return err
}

// Try is Watched.Try for a request with a result.
func Try[T, V any](w *Watched[T], request func() (V, error)) (v V, err error) {
	err = w.Try(func() error {
		v, err = request()
		return err
	})
	return v, err
}
