package dirstore

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// defaultPage is the number of names of a directory in memory. A larger directory is read
// again for each page.
const defaultPage = 4096

const readBatch = 512

// List walks the tree in key order, with one page of one directory per level in memory. It
// syncs nothing: callers that rely on an object use Stat or Get.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		w := &walk{s: s, ctx: ctx, prefix: prefix, after: startAfter}
		now, err := run(ctx, s, "list", prefix, nil, func(c *call) (time.Time, error) {
			now := s.now(c)
			if err := s.rootThere(c); err != nil {
				return now, failed("list", prefix, now, err)
			}
			return now, nil
		})
		w.yield = func(info objstore.Info) bool {
			info.StoreTime = now
			return yield(info, nil)
		}
		dir, _ := path.Split(prefix) // the deepest directory that contains all keys with the prefix
		if err == nil && (dir == "" || objstore.CheckKey(strings.TrimSuffix(dir, "/")) == nil) {
			_, err = w.dir(dir)
		}
		if err != nil {
			yield(objstore.Info{}, err)
		}
	}
}

func (s *Store) rootThere(c *call) error {
	if err := s.missing(c); !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	return nil
}

type walk struct {
	s             *Store
	ctx           context.Context // of the List; the walk ends with it
	prefix, after string
	yield         func(objstore.Info) bool
}

// dir lists a directory, "" or a path that ends with a slash.
func (w *walk) dir(dir string) (more bool, err error) {
	last := ""
	for {
		page, err := w.page(dir, last)
		if err != nil {
			return false, err
		}
		for _, name := range page {
			if err := ended(w.ctx, "list", w.prefix); err != nil {
				return false, err
			}
			if more, err := w.entry(dir + name); !more || err != nil {
				return false, err
			}
		}
		if len(page) < w.s.page {
			return true, nil
		}
		last = page[len(page)-1]
	}
}

func (w *walk) entry(key string) (more bool, err error) {
	if strings.HasSuffix(key, "/") {
		return w.dir(key)
	}
	st, err := ask(w, func(c *call) (st fs.FileInfo, err error) {
		err = c.do("stat", w.s.path(key), func() (err error) {
			st, err = os.Stat(w.s.path(key))
			return err
		})
		if absent(err) {
			err = nil
		}
		return st, err
	})
	switch {
	case err != nil:
		return false, err
	case st == nil || !st.Mode().IsRegular():
		return true, nil // removed after its name was read
	}
	return w.yield(fileInfo(st, key)), nil
}

// page reads the smallest names after last that can lead to keys of the listing. Names of
// directories end with a slash, so that they sort like their keys.
func (w *walk) page(dir, last string) ([]string, error) {
	return ask(w, func(c *call) ([]string, error) {
		f, err := openFile(c, w.s.path(strings.TrimSuffix(dir, "/")))
		if absent(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		names, err := w.smallest(c, f, dir, last)
		return names, errors.Join(err, f.Close())
	})
}

// ask makes one call of the walk. No call is open while the consumer works.
func ask[T any](w *walk, fn func(c *call) (T, error)) (T, error) {
	return run(w.ctx, w.s, "list", w.prefix, nil, func(c *call) (T, error) {
		v, err := fn(c)
		if err != nil {
			err = failed("list", w.prefix, w.s.now(c), err)
		}
		return v, err
	})
}

func (w *walk) smallest(c *call, f *os.File, dir, last string) ([]string, error) {
	var names maxHeap
	for {
		var entries []fs.DirEntry
		err := c.do("readdir", f.Name(), func() (err error) {
			entries, err = f.ReadDir(readBatch)
			return err
		})
		for _, e := range entries {
			name := w.entryName(dir, e)
			if name == "" || name <= last || !w.wants(dir+name) {
				continue
			}
			if len(names) < w.s.page {
				heap.Push(&names, name)
			} else if name < names[0] {
				names[0] = name
				heap.Fix(&names, 0)
			}
		}
		if err == io.EOF {
			return names.ascending(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// entryName returns "" for entries that cannot be part of a key. It follows symbolic links,
// as Get and Put do: a part of the tree that was moved to another disk must not be missing
// from lists.
func (w *walk) entryName(dir string, e fs.DirEntry) string {
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		st, err := os.Stat(w.s.path(dir + e.Name()))
		if err != nil {
			return "" // dangling, as for Get
		}
		mode = st.Mode()
	}
	switch {
	case mode.IsDir():
		return e.Name() + "/"
	case mode.IsRegular():
		return e.Name()
	}
	return ""
}

// wants reports whether a key, or some key below a directory, belongs to the listing.
func (w *walk) wants(key string) bool {
	if !strings.HasSuffix(key, "/") {
		return strings.HasPrefix(key, w.prefix) && key > w.after
	}
	if isHidden(key) || !strings.HasPrefix(key, w.prefix) && !strings.HasPrefix(w.prefix, key) {
		return false
	}
	return key > w.after || strings.HasPrefix(w.after, key)
}

func isHidden(key string) bool { return key == hidden || strings.HasPrefix(key, hidden+"/") }

// maxHeap has the greatest of the smallest names on top.
type maxHeap []string

func (h maxHeap) Len() int           { return len(h) }
func (h maxHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h maxHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *maxHeap) Push(x any)        { *h = append(*h, x.(string)) }
func (h *maxHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *maxHeap) ascending() []string {
	out := make([]string, h.Len())
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = heap.Pop(h).(string)
	}
	return out
}
