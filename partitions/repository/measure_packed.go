package repository

import (
	"context"
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// logKeys are the objects of a log that a list has shown.
type logKeys map[string]bool

func (l logKeys) add(key, path string) {
	if strings.HasPrefix(key, history.LogPrefix(path)) {
		l[key] = true
	}
}

// PackedBody is a body in a pack.
type PackedBody struct {
	Chunk history.ChunkID
	Pack  string // key of the pack that has it now
	Bytes int64  // stored bytes, as often as messages of the backup name the chunk
}

// EachPackedBody calls fn with the bodies of the newest state that are in packs. A chunk with several
// places is repeated: its last call counts, with Pack "" if the log has the body.
func (f *Found) EachPackedBody(ctx context.Context, fn func(PackedBody) error) error {
	log := logKeys{}
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return err
		}
		log.add(info.Key, f.Path)
	}
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	chunks, err := measureMessages(m, nil, new(Measured))
	if err != nil {
		return err
	}
	return f.eachPacked(ctx, m, chunks, log, func(_ int, p history.Place, bytes int64) error {
		return fn(PackedBody{p.Chunk, p.Object, bytes})
	})
}

// directories is how many directories of packs are held while the places of a backup are
// read. Places are in order of arrival, so that most neighbours are in the same pack.
const directories = 4

// eachPacked calls fn with each place of the chunks, the newest place of a chunk last: the number of
// the chunk, where it is now, and its stored bytes, as often as it was added. For a chunk in the log,
// both are zero: its bytes are among those of the log.
func (f *Found) eachPacked(ctx context.Context, m *history.Mem, chunks *prefixes, log logKeys, fn func(chunk int, now history.Place, bytes int64) error) error {
	objects := history.NewObjects(f.Partition.Store, directories)
	for p, err := range m.AllPlaces() {
		if err != nil {
			return err
		}
		i, n := chunks.find(p.Chunk[:])
		if n == 0 {
			continue
		}
		now, size, err := packedAt(ctx, objects, p, log)
		if err != nil {
			return err
		}
		if err := fn(i, now, int64(n)*size); err != nil {
			return err
		}
	}
	return nil
}

// packedAt returns where a chunk is in a pack, and its stored bytes: its share, if it shares a frame.
// A place in a commit that was merged leads to a pack.
func packedAt(ctx context.Context, o *history.Objects, p history.Place, log logKeys) (now history.Place, size int64, err error) {
	now = history.Place{Chunk: p.Chunk}
	if log[p.Object] {
		return now, 0, nil
	}
	object, e, err := o.Entry(ctx, p)
	if history.IsDamage(err) {
		return now, 0, nil // verify reports the damage
	}
	if err != nil || !isPackKey(object) {
		return now, 0, err
	}
	now.Object, now.Entry = object, p.Entry
	if e.Raw <= 0 {
		return now, e.Len, nil
	}
	return now, e.Len * min(e.Size, e.Raw) / e.Raw, nil
}

func isPackKey(key string) bool {
	_, ok := history.MovedKey(key)
	return ok
}
