package collection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The uses of a backup, backups/<b>/uses.ndjson.zst, are a copy of what its objects name:
// which packs each commit, segment and object with places names, how many entries of them, and which objects each
// checkpoint has its places in (docs/format.md 7). A reader believes a line only if the
// object still has the version in it. So the uses need not be as new as the backup, and
// nothing has to be ordered before or after their put.

// usesVersion is the version of the uses.
const usesVersion = 2

// usesHeader is the first line.
type usesHeader struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"` // host's clock, for people
}

// use is a line: what an object names.
type use struct {
	Object string `json:"object"` // key below the prefix of the backup
	version
	Packs   []Pack   `json:"packs,omitempty"`   // ascending
	Entries []uint32 `json:"entries,omitempty"` // by pack, the number of places in it
	Blocks  []Pack   `json:"blocks,omitempty"`  // of a checkpoint: the objects in records/ that have its places
}

// maxUseLine limits the memory of a line: 500,000 packs.
const maxUseLine = 64 << 20

// usesReader reads uses in the order of their objects.
type usesReader struct {
	*linesReader
	next use
	n    int // lines that were read
}

// errUses reports uses that cannot be read. Readers then read the objects themselves.
var errUses = errors.New("the uses cannot be read")

// openUses opens the uses of a backup.
func openUses(ctx context.Context, s objstore.Store, prefix string) (*usesReader, error) {
	obj, err := s.Get(ctx, prefix+usesName, 0, -1)
	if err != nil {
		return nil, err
	}
	return newUsesReader(obj)
}

func newUsesReader(obj io.ReadCloser) (*usesReader, error) {
	lines, err := newLinesReader(obj, maxUseLine, errUses)
	if err != nil {
		return nil, err
	}
	u := &usesReader{linesReader: lines}
	var h usesHeader
	if err = u.line(&h); err == nil && (u.end || h.Version != usesVersion) {
		err = fmt.Errorf("%w: version %d", errUses, h.Version)
	}
	if err == nil {
		err = u.advance()
	}
	if err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

func (u *usesReader) advance() error {
	was := u.next.Object
	u.next = use{}
	if err := u.line(&u.next); err != nil || u.end {
		return err
	}
	switch u.n++; {
	case u.next.Object <= was:
		return fmt.Errorf("%w: %s is not in order", errUses, u.next.Object)
	case len(u.next.Entries) != len(u.next.Packs):
		return fmt.Errorf("%w: %s has %d packs and the entries of %d", errUses, u.next.Object, len(u.next.Packs), len(u.next.Entries))
	}
	return nil
}

// find returns the line of an object, if it is about this version of it. Calls are in the
// order of the keys.
func (u *usesReader) find(o object) (found *use, err error) {
	for !u.end && u.next.Object < o.rel {
		if err := u.advance(); err != nil {
			return nil, err
		}
	}
	if u.end || u.next.Object != o.rel || !u.next.same(versionOf(o.Info)) {
		return nil, nil
	}
	n := u.next
	return &n, nil
}

// drain reads the rest: the checksum of the whole object is at its end.
func (u *usesReader) drain() error {
	for !u.end {
		if err := u.advance(); err != nil {
			return err
		}
	}
	return nil
}

// usesWriter writes uses.
type usesWriter struct{ *linesWriter }

func newUsesWriter(now time.Time) (*usesWriter, error) {
	w, err := newLinesWriter(usesHeader{usesVersion, now.UTC()})
	if err != nil {
		return nil, err
	}
	return &usesWriter{w}, nil
}

// put puts the uses. It needs no condition: every version is right about the objects that it
// describes.
func (w *usesWriter) put(ctx context.Context, s objstore.Store, prefix string) error {
	return w.linesWriter.put(ctx, s, prefix+usesName)
}

// isUseless reports whether err means that uses are to be ignored: they are damaged, or a
// newer program wrote them.
func isUseless(err error) bool {
	return errors.Is(err, errUses) || history.IsDamage(err)
}
