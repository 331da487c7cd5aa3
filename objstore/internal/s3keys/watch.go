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

// renewPause is how often at most the keys are got again although no file has changed.
const renewPause = 5 * time.Second

// Watched are keys in the form that a driver needs, made from files and made again when
// one of them changes. Its methods may be called from many goroutines.
type Watched[T any] struct {
	o     Watching[T]
	files []string

	mu         sync.Mutex
	value      T
	stamp      string
	generation uint64
	renewed    time.Time
	broken     bool // the files as they are now could not be read, which was logged

	refused atomic.Uint64 // one more than the generation that the store does not accept, which was logged
}

// Watching says what is watched.
type Watching[T any] struct {
	Options
	Load func() (T, error)
	// Same says whether exchanging one for the other would change nothing.
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

// look describes the files as they are.
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

// Changed says whether Get would read the files.
func (w *Watched[T]) Changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.look() != w.stamp
}

// Get returns the keys, read again if a file has changed. Files that cannot be used, such
// as one that is just being written, leave the keys as they were.
func (w *Watched[T]) Get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.look(); now != w.stamp {
		w.load(now)
	}
	return w.value
}

// load makes the keys again. mu is held.
func (w *Watched[T]) load(stamp string) {
	value, err := w.o.Load()
	if err != nil {
		if !w.broken {
			w.o.Log.Warn("the keys of the bucket cannot be read again; the ones so far are used", "err", err)
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

// Generation tells the keys of now from later ones.
func (w *Watched[T]) Generation() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generation
}

// Renew gets the keys again, after the store has refused something to those of a
// generation, and says whether there are other ones now. force: also when no file has changed.
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

// note logs once for each generation that the store does not accept it, and once that it
// accepts one again.
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

// Try makes a request, and once more if the store refuses it and there are other keys by
// then. Some stores answer AccessDenied to a key that they do not know.
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
