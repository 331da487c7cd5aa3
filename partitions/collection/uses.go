package collection

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

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
	obj  io.Closer
	dec  *zstd.Decoder
	r    *bufio.Scanner
	next use
	n    int // lines that were read
	end  bool
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
	dec, err := zstd.NewReader(obj, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUseLine), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, errors.Join(err, obj.Close())
	}
	u := &usesReader{obj: obj, dec: dec, r: bufio.NewScanner(dec)}
	u.r.Buffer(nil, maxUseLine)
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

func (u *usesReader) close() error {
	u.dec.Close()
	return u.obj.Close()
}

// line reads a line into v. It sets end after the last one.
func (u *usesReader) line(v any) error {
	if !u.r.Scan() {
		u.end = true
		if err := u.r.Err(); err != nil {
			return fmt.Errorf("%w: %w", errUses, err)
		}
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(u.r.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", errUses, err)
	}
	return nil
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

// usesWriter writes uses to a temporary file, because a backup can have any number of objects.
type usesWriter struct {
	file *os.File
	enc  *zstd.Encoder
	json *json.Encoder

	finished bool
}

func newUsesWriter(now time.Time) (*usesWriter, error) {
	f, err := os.CreateTemp("", "backupd-uses-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Hashes in hex take twice the space without entropy coding. A search for repetitions finds little in them.
	enc, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<17),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w := &usesWriter{file: f, enc: enc, json: json.NewEncoder(enc)}
	if err := w.json.Encode(usesHeader{usesVersion, now.UTC()}); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *usesWriter) add(u *use) error { return w.json.Encode(u) }

func (w *usesWriter) close() error { return errors.Join(w.finish(), w.file.Close()) }

// finish ends the compressed stream.
func (w *usesWriter) finish() error {
	if w.finished {
		return nil
	}
	w.finished = true
	return w.enc.Close()
}

// put puts the uses. It needs no condition: every version is right about the objects that it
// describes.
func (w *usesWriter) put(ctx context.Context, s objstore.Store, prefix string) error {
	if err := w.finish(); err != nil {
		return err
	}
	end, err := w.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, prefix+usesName, io.NewSectionReader(w.file, 0, end), objstore.PutOptions{})
	return err
}

// isUseless reports whether err means that uses are to be ignored: they are damaged, or a
// newer program wrote them.
func isUseless(err error) bool {
	return errors.Is(err, errUses) || history.IsDamage(err)
}
