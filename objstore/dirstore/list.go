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

// defaultPage is how many names of a directory are held at once. A directory with
// more is read again for each page.
const defaultPage = 4096

const readBatch = 512

// List walks the tree in the order of keys, one page of one directory per level in
// memory. It syncs nothing: whoever builds on an object asks for it.
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
		dir, _ := path.Split(prefix) // the deepest directory that holds all keys with the prefix
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
	ctx           context.Context // of the List, which the walk does not outlive
	prefix, after string
	yield         func(objstore.Info) bool
}

// dir lists what lies below a directory, "" or a path that ends with a slash.
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
		return true, nil // removed since its name was read
	}
	return w.yield(fileInfo(st, key)), nil
}

// page reads the smallest names after last that can lead to keys of the listing. The
// names of directories end with a slash, so that they sort as their keys do.
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

// ask makes one call of the walk. None lasts while the consumer works.
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

// entryName is "" for what cannot be part of a key. Symbolic links count as what they
// lead to, since Get and Put follow them: a part of the tree that somebody has laid on
// another disk must not be missing from lists only.
func (w *walk) entryName(dir string, e fs.DirEntry) string {
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		st, err := os.Stat(w.s.path(dir + e.Name()))
		if err != nil {
			return "" // leads nowhere, as it does for Get
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

// wants says whether a key, or some key below a directory, belongs to the listing.
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

// maxHeap keeps the greatest of the smallest names on top.
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
