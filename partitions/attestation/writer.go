package attestation

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// writer writes a list to a temporary file, so that a list of any length takes the same memory.
type writer struct {
	header Header
	totals Totals
	file   *os.File // removed already
	zstd   *zstd.Encoder
	buffer *bufio.Writer
	last   string // order of the last entry
}

func newWriter(h Header) (*writer, error) {
	f, err := os.CreateTemp("", "backupd-list-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", repository.ErrTemporaryFile, err)
	}
	w := &writer{header: h, file: f}
	if w.zstd, err = zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<18)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.buffer = bufio.NewWriter(w.zstd)
	if err := w.line(&h); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *writer) line(v any) error {
	b, err := marshalLine(v)
	if err == nil {
		_, err = w.buffer.Write(b)
	}
	return err
}

// add writes an entry. Entries come in the order of their keys.
func (w *writer) add(e *Entry) error {
	at := order(e.Backup)
	if at <= w.last {
		return fmt.Errorf("%s is not after the entry before", e.Backup)
	}
	if err := e.check(); err != nil {
		return err
	}
	w.last = at
	w.totals.add(e)
	return w.line(e)
}

func (w *writer) close() error {
	return errors.Join(w.zstd.Close(), w.file.Close())
}

// signed is a list that can be put.
type signed struct {
	Comment   Comment
	Signature []byte
	Body      *io.SectionReader
}

// sign ends the list. The body is valid until close.
func (w *writer) sign(key minisign.PrivateKey) (*signed, error) {
	if err := errors.Join(w.line(endLine{&w.totals}), w.buffer.Flush(), w.zstd.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", repository.ErrTemporaryFile, err)
	}
	size, err := w.file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	s := &signed{Body: io.NewSectionReader(w.file, 0, size)}
	sum := sha256.New()
	hashed := minisign.NewReader(io.TeeReader(io.NewSectionReader(w.file, 0, size), sum))
	if _, err := io.Copy(io.Discard, hashed); err != nil {
		return nil, fmt.Errorf("%w: %w", repository.ErrTemporaryFile, err)
	}
	s.Comment = Comment{
		List: Reference{w.header.Number, hex.EncodeToString(sum.Sum(nil))}, Bytes: size, Previous: w.header.Previous,
		Repository: w.header.Repository, Time: w.header.Time, Backups: w.totals.Backups,
		Findings: w.totals.Findings + len(w.header.Findings),
	}
	s.Signature = hashed.SignWithComments(key, s.Comment.String(), "signed list of backups; key "+keyName(key.ID()))
	return s, nil
}
