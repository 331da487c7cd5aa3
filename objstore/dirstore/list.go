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

	"backupd/objstore"
)

// defaultPage is how many names of a directory are held at once. A directory with
// more is read again for each page.
const defaultPage = 4096

const readBatch = 512

// List walks the tree in the order of keys, one page of one directory per level in memory.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		now := s.now()
		w := &walk{s: s, ctx: ctx, prefix: prefix, after: startAfter}
		w.yield = func(info objstore.Info) bool {
			info.StoreTime = now
			return yield(info, nil)
		}
		dir, _ := path.Split(prefix) // the deepest directory that holds all keys with the prefix
		err := s.rootThere()
		if err == nil && (dir == "" || objstore.CheckKey(strings.TrimSuffix(dir, "/")) == nil) {
			_, err = w.dir(dir)
		}
		if err != nil {
			yield(objstore.Info{}, failed("list", prefix, now, err))
		}
	}
}

func (s *Store) rootThere() error {
	if err := s.missing(); !errors.Is(err, objstore.ErrNotExist) {
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
			if err := w.ctx.Err(); err != nil {
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
	st, err := os.Stat(w.s.path(key))
	switch {
	case absent(err), err == nil && !st.Mode().IsRegular():
		return true, nil // removed since its name was read
	case err != nil:
		return false, err
	}
	return w.yield(fileInfo(st, key)), nil
}

// page reads the smallest names after last that can lead to keys of the listing. The
// names of directories end with a slash, so that they sort as their keys do.
func (w *walk) page(dir, last string) ([]string, error) {
	f, err := os.Open(w.s.path(strings.TrimSuffix(dir, "/")))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := w.smallest(f, dir, last)
	return names, errors.Join(err, f.Close())
}

func (w *walk) smallest(f *os.File, dir, last string) ([]string, error) {
	var names maxHeap
	for {
		entries, err := f.ReadDir(readBatch)
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
