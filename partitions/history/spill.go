package history

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// heldPacked is how many bytes of compressed blocks are kept in memory. More blocks go to
// a temporary file, so that a first upload can have any size.
const heldPacked = 8 << 20

// ErrTemporaryFile reports that the directory for temporary files (TMPDIR) cannot be used: it is full, for
// example. Other backups of the same size fail as well.
var ErrTemporaryFile = errors.New("the state of the backup does not fit into memory, and cannot be kept in a temporary file: make room in the directory for temporary files, or set TMPDIR to a larger one")

// packedBlock is a compressed block that no object contains yet.
type packedBlock struct {
	held []byte // nil if the block is in the file
	off  int64
	n    int
	room int // bytes reserved for it in the file, from off on
}

// spill keeps compressed blocks in memory or in a temporary file. The file has no name,
// so that it is freed when it is closed.
type spill struct {
	enc  *zstd.Encoder
	dec  *zstd.Decoder
	max  int64 // bytes to keep in memory
	held int64
	file *os.File
	size int64
	buf  []byte // the last block that was compressed
	raw  []byte // the last block that was decompressed
}

func newSpill() (*spill, error) {
	// Most literals are hashes. In hex, without entropy coding, they would take twice the space.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(1<<20), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlockSize))
	if err != nil {
		return nil, err
	}
	return &spill{enc: enc, dec: dec, max: heldPacked}, nil
}

func (s *spill) close() error {
	s.dec.Close()
	err := s.enc.Close()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// put stores a block and replaces old, which may be nil.
func (s *spill) put(old *packedBlock, raw []byte) (*packedBlock, error) {
	s.drop(old)
	s.buf = s.enc.EncodeAll(raw, s.buf[:0])
	n := len(s.buf)
	if s.held+int64(n) <= s.max && (old == nil || old.room == 0) {
		s.held += int64(n)
		return &packedBlock{held: append(make([]byte, 0, n), s.buf...), n: n}, nil
	}
	p := &packedBlock{off: s.size, n: n, room: n + n/8} // it may grow
	if old != nil && old.room >= n {
		p.off, p.room = old.off, old.room
	}
	if err := s.write(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemporaryFile, err)
	}
	return p, nil
}

func (s *spill) write(p *packedBlock) error {
	if s.file == nil {
		f, err := os.CreateTemp("", "backupd-blocks-")
		if err != nil {
			return err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	if _, err := s.file.WriteAt(s.buf, p.off); err != nil {
		return err
	}
	s.size = max(s.size, p.off+int64(p.room))
	return nil
}

// get returns the bytes of a block, which are valid until the next call.
func (s *spill) get(p *packedBlock) (raw []byte, err error) {
	b := p.held
	if b == nil {
		s.buf = slices.Grow(s.buf[:0], p.n)[:p.n]
		b = s.buf
		if _, err := s.file.ReadAt(b, p.off); err != nil {
			return nil, fmt.Errorf("read a block from a temporary file: %w", err)
		}
	}
	s.raw, err = s.dec.DecodeAll(b, s.raw[:0])
	return s.raw, err
}

// drop frees the memory of a block. Only put reuses its space in the file.
func (s *spill) drop(p *packedBlock) {
	if p != nil {
		s.held -= int64(len(p.held))
		p.held = nil
	}
}

// reset empties the file. No block may be in it any more.
func (s *spill) reset() error {
	if s.file == nil {
		return nil
	}
	s.size = 0
	return s.file.Truncate(0)
}
