package history

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
)

// RetiredKey is the key of the list of notes in moved/ that nothing needs (docs/format.md 6).
const RetiredKey = "retired.ndjson.zst"

// retiredVersion is the version of the list.
const retiredVersion = 1

// maxRetiredLine is more bytes than a line of the list has.
const maxRetiredLine = 4096

// RetiredNote is a line of the list: the note about a pack that does not exist. All times are of the store.
type RetiredNote struct {
	Pack PackID `json:"pack"`
	// Unused is since when no backup names the pack, and the note has not changed. Zero: somebody needs it, or it is gone.
	Unused time.Time `json:"unused,omitzero"`
	// Ending is since when the note will be removed. A copy into the partition must not rely on it much longer.
	Ending time.Time `json:"ending,omitzero"`
	// Removed is when its removal has begun, the last time. The line stays: it shows an old index that the pack was not lost.
	Removed time.Time `json:"removed,omitzero"`
}

// PackID is the SHA-256 of a pack.
type PackID [32]byte

// MarshalText returns the hash in hex.
func (p PackID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText reads a hash in hex.
func (p *PackID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(p)) {
		return fmt.Errorf("%q: not a hash of %d bytes", text, len(p))
	}
	_, err := hex.Decode(p[:], text)
	return err
}

// retiredHeader is the first line.
type retiredHeader struct {
	Version int `json:"version"`
	// Lost is when a damaged list was made again. Until then, the removal of any note may have begun.
	Lost time.Time `json:"lost,omitzero"`
}

// Retired is the list of retired notes, while it is read. Its lines are read once, as a stream.
type Retired struct {
	Info objstore.Info // without an ETag: there is no list
	Lost time.Time     // when it was made again after damage; zero = never

	obj   *objstore.Object
	read  *storeReader
	dec   *zstd.Decoder
	lines *bufio.Scanner
}

// OpenRetired opens the list. If it does not exist, it has no lines. The caller closes it. A replacement must match the
// ETag of Info.
func OpenRetired(ctx context.Context, s objstore.Store) (*Retired, error) {
	obj, err := s.Get(ctx, RetiredKey, 0, -1)
	if errors.Is(err, objstore.ErrNotExist) {
		return &Retired{Info: objstore.Info{StoreTime: objstore.StoreTimeOf(err)}}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Retired{Info: obj.Info, obj: obj, read: &storeReader{r: obj}}
	if r.dec, err = zstd.NewReader(r.read, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
		r.lines = bufio.NewScanner(r.dec)
		r.lines.Buffer(nil, maxRetiredLine)
		err = r.header()
	}
	if err != nil {
		return nil, errors.Join(r.failure(err), r.Close())
	}
	return r, nil
}

func (r *Retired) header() error {
	var h retiredHeader
	if !r.lines.Scan() {
		return errors.Join(r.lines.Err(), errors.New("it has no first line"))
	}
	if err := r.parse(&h); err != nil {
		return err
	}
	if h.Version != retiredVersion {
		return fmt.Errorf("%w: version %d", ErrVersion, h.Version)
	}
	r.Lost = h.Lost
	return nil
}

func (r *Retired) parse(v any) error {
	d := json.NewDecoder(bytes.NewReader(r.lines.Bytes()))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// failure wraps an error of a read: damage, unless the store has failed.
func (r *Retired) failure(err error) error {
	switch {
	case r.read.err != nil:
		return fmt.Errorf("%s: %w", RetiredKey, r.read.err)
	case errors.Is(err, ErrVersion):
		return fmt.Errorf("%s: %w", RetiredKey, err)
	}
	return fmt.Errorf("%s: %w: %w", RetiredKey, ErrCorrupt, err)
}

// Close ends the request.
func (r *Retired) Close() error {
	if r.dec != nil {
		r.dec.Close()
	}
	if r.obj == nil {
		return nil
	}
	return r.obj.Close()
}

// Notes yields the lines in the order of their packs, each once. Only after the last one is it certain that the list
// is not damaged.
func (r *Retired) Notes() iter.Seq2[RetiredNote, error] {
	return func(yield func(RetiredNote, error) bool) {
		if r.lines == nil {
			return
		}
		var last PackID
		for first := true; r.lines.Scan(); first = false {
			var n RetiredNote
			err := r.parse(&n)
			if err == nil && !first && bytes.Compare(n.Pack[:], last[:]) <= 0 {
				err = fmt.Errorf("%s is not in order", PackKey(n.Pack))
			}
			if err != nil {
				yield(RetiredNote{}, r.failure(err))
				return
			}
			if last = n.Pack; !yield(n, nil) {
				return
			}
		}
		if err := r.lines.Err(); err != nil {
			yield(RetiredNote{}, r.failure(err))
		}
	}
}

// storeReader remembers an error of the store, which a decoder would hide.
type storeReader struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *storeReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// RetiredWriter writes a list.
type RetiredWriter struct {
	enc  *zstd.Encoder
	json *json.Encoder
}

// NewRetiredWriter writes the beginning of a list. lost is that of the former list.
func NewRetiredWriter(w io.Writer, lost time.Time) (*RetiredWriter, error) {
	// Hashes in hex take twice the space without entropy coding.
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, err
	}
	r := &RetiredWriter{enc: enc, json: json.NewEncoder(enc)}
	return r, r.json.Encode(retiredHeader{retiredVersion, lost})
}

// Add adds a line. Calls are in the order of the packs.
func (w *RetiredWriter) Add(n RetiredNote) error { return w.json.Encode(n) }

// Close writes the end of the list.
func (w *RetiredWriter) Close() error { return w.enc.Close() }
