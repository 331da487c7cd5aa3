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

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
)

// linesReader reads lines of JSON in zstd frames.
type linesReader struct {
	obj    io.Closer
	dec    *zstd.Decoder
	r      *bufio.Scanner
	broken error // wrapped by every error about the lines
	end    bool
}

// newLinesReader reads an object whose lines have at most so many bytes. It closes the object after an error.
func newLinesReader(obj io.ReadCloser, maxLine int, broken error) (*linesReader, error) {
	dec, err := zstd.NewReader(obj, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUseLine), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", broken, err), obj.Close())
	}
	l := &linesReader{obj: obj, dec: dec, r: bufio.NewScanner(dec), broken: broken}
	l.r.Buffer(nil, maxLine)
	return l, nil
}

func (l *linesReader) close() error {
	l.dec.Close()
	return l.obj.Close()
}

// line reads a line into v. It sets end after the last one.
func (l *linesReader) line(v any) error {
	if l.end = !l.r.Scan(); l.end {
		if err := l.r.Err(); err != nil {
			return fmt.Errorf("%w: %w", l.broken, err)
		}
		return nil
	}
	return l.decode(v)
}

// decode reads the last line into v.
func (l *linesReader) decode(v any) error {
	d := json.NewDecoder(bytes.NewReader(l.r.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", l.broken, err)
	}
	return nil
}

// linesWriter writes lines of JSON, as a zstd frame, to a temporary file, because there can be any number of them.
type linesWriter struct {
	file *os.File
	enc  *zstd.Encoder
	json *json.Encoder

	finished bool
}

// newLinesWriter begins with some lines.
func newLinesWriter(first ...any) (*linesWriter, error) {
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
	w := &linesWriter{file: f, enc: enc, json: json.NewEncoder(enc)}
	for _, line := range first {
		if err := w.add(line); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

func (w *linesWriter) add(line any) error { return w.json.Encode(line) }

func (w *linesWriter) close() error { return errors.Join(w.finish(), w.file.Close()) }

// finish ends the frame.
func (w *linesWriter) finish() error {
	if w.finished {
		return nil
	}
	w.finished = true
	return w.enc.Close()
}

// content returns the bytes that were written.
func (w *linesWriter) content() (*io.SectionReader, error) {
	if err := w.finish(); err != nil {
		return nil, err
	}
	end, err := w.file.Seek(0, io.SeekEnd)
	return io.NewSectionReader(w.file, 0, end), err
}

// put puts the lines.
func (w *linesWriter) put(ctx context.Context, s objstore.Store, key string) error {
	b, err := w.content()
	if err == nil {
		_, err = s.Put(ctx, key, b, objstore.PutOptions{})
	}
	return err
}
