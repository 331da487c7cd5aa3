package history

import (
	"bytes"
	"container/list"
	"context"
	"io"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

const (
	// directoryTail is how much of the end of an object is read for its directory. It is
	// enough for the directory of a typical pack, or for a whole small object.
	directoryTail = 64 << 10
	// wholeObject is the largest object that is cached whole with its directory.
	wholeObject = directoryTail
	// cachedEntries limits the entries of all cached directories: about 10 MiB.
	cachedEntries = 64 << 10
)

// Objects reads entries of objects in a store. It caches the directories, so that many
// entries of an object take one request for its directory. Its methods are safe for
// concurrent use.
type Objects struct {
	store      objstore.Store
	max        int
	maxEntries int
	resolver   resolver
	frames     *keptFrames // nil: none are kept

	mu      sync.Mutex
	byKey   map[string]*list.Element // of *object
	used    list.List                // latest first
	entries int                      // of their directories
}

type object struct {
	key   string
	dir   *pack.Directory
	whole []byte // nil for a large object
}

// NewObjects returns an Objects that caches the directories of the last max objects, as far as
// they have few entries in total. If max < 1 it caches 64.
func NewObjects(s objstore.Store, max int) *Objects {
	if max < 1 {
		max = 64
	}
	return &Objects{store: s, max: max, maxEntries: cachedEntries, resolver: resolver{store: s}, byKey: make(map[string]*list.Element)}
}

// Directory returns the directory of the object.
func (o *Objects) Directory(ctx context.Context, key string) (*pack.Directory, error) {
	obj, err := o.object(ctx, key)
	if err != nil {
		return nil, err
	}
	return obj.dir, nil
}

// Frames reads n bytes of the object from off. It makes a request unless the object is
// small enough to be cached.
func (o *Objects) Frames(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	obj, err := o.object(ctx, key)
	if err != nil {
		return nil, err
	}
	if end := int64(len(obj.whole)); off >= 0 && n >= 0 && off <= end && n <= end-off {
		return io.NopCloser(bytes.NewReader(obj.whole[off : off+n])), nil
	}
	return o.store.Get(ctx, key, off, n)
}

// Forget empties the cache. This is needed when the store may have other objects under the
// same keys, for example after a bucket was restored to an older state.
func (o *Objects) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.byKey)
	o.used.Init()
	o.entries = 0
	if o.frames != nil {
		o.frames.forget()
	}
	o.resolver.forget()
}

// forget drops one object from the cache.
func (o *Objects) forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.byKey[key]; ok {
		o.used.Remove(e)
		o.entries -= len(e.Value.(*object).dir.Entries)
		delete(o.byKey, key)
	}
}

func (o *Objects) object(ctx context.Context, key string) (*object, error) {
	o.mu.Lock()
	if e, ok := o.byKey[key]; ok {
		o.used.MoveToFront(e)
		o.mu.Unlock()
		return e.Value.(*object), nil
	}
	o.mu.Unlock()
	obj, err := readObject(ctx, o.store, key)
	if err != nil {
		return nil, inObject(key, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if e, ok := o.byKey[key]; ok {
		return e.Value.(*object), nil
	}
	o.keep(obj)
	return obj, nil
}

// keep caches an object in place of those that were used least recently. The caller holds mu.
func (o *Objects) keep(obj *object) {
	o.byKey[obj.key] = o.used.PushFront(obj)
	o.entries += len(obj.dir.Entries)
	for o.used.Len() > o.max || o.entries > o.maxEntries && o.used.Len() > 1 {
		last := o.used.Remove(o.used.Back()).(*object)
		delete(o.byKey, last.key)
		o.entries -= len(last.dir.Entries)
	}
}

// readObject reads the directory with one request for the end of the object, or with two
// if the directory is longer.
func readObject(ctx context.Context, s objstore.Store, key string) (*object, error) {
	got, err := s.Get(ctx, key, -directoryTail, 0)
	if err != nil {
		return nil, err
	}
	size := got.Size
	tail, err := io.ReadAll(io.LimitReader(got, directoryTail))
	if err = closeAfter(got, err); err != nil {
		return nil, err
	}
	start := size - int64(len(tail)) // offset of tail in the object
	dir, err := pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off = max(size+off, 0)
			n = size - off
		}
		if off >= start && n >= 0 && off+n <= size {
			return io.NopCloser(bytes.NewReader(tail[off-start : off-start+n])), nil
		}
		return s.Get(ctx, key, off, n)
	}, size)
	if err != nil {
		return nil, err
	}
	obj := &object{key: key, dir: dir}
	if start == 0 && size <= wholeObject {
		obj.whole = tail
	}
	return obj, nil
}

// closeAfter closes c and returns the first error.
func closeAfter(c io.Closer, err error) error {
	if cerr := c.Close(); err == nil {
		return cerr
	}
	return err
}
