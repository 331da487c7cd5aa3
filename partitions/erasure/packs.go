package erasure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The list of packs, erased/<id>.packs.zst, is one zstd frame with the names of the packs in hex, a
// line each, ascending. It is kept while bodies may be in them.

// putPacks puts the list. It goes through a temporary file, because the list can have any length.
func putPacks(ctx context.Context, s objstore.Store, id string, packs iter.Seq2[collection.Pack, error]) (n int64, err error) {
	f, err := os.CreateTemp("", "backupd-erased-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil {
		return 0, err
	}
	if n, err = writePacks(f, packs); err != nil {
		return 0, fmt.Errorf("write the names of packs to a temporary file: %w", err)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	_, err = s.Put(ctx, repository.ErasurePacksKey(id), io.NewSectionReader(f, 0, end), objstore.PutOptions{})
	return n, err
}

func writePacks(w io.Writer, packs iter.Seq2[collection.Pack, error]) (n int64, err error) {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return 0, err
	}
	for p, err := range packs {
		var text []byte
		if err == nil {
			text, err = p.MarshalText()
		}
		if err == nil {
			_, err = enc.Write(append(text, '\n'))
		}
		if err != nil {
			return 0, errors.Join(err, enc.Close())
		}
		n++
	}
	return n, enc.Close()
}

// readPacks yields the packs of an erasure. A list that is missing or damaged is an error.
func readPacks(ctx context.Context, s objstore.Store, id string) iter.Seq2[collection.Pack, error] {
	key := repository.ErasurePacksKey(id)
	return func(yield func(collection.Pack, error) bool) {
		fail := func(err error) { yield(collection.Pack{}, fmt.Errorf("%s: %w", key, err)) }
		obj, err := s.Get(ctx, key, 0, -1)
		if err != nil {
			fail(err)
			return
		}
		defer obj.Close()
		dec, err := zstd.NewReader(obj, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			fail(err)
			return
		}
		defer dec.Close()
		lines := bufio.NewScanner(dec)
		for lines.Scan() {
			var p collection.Pack
			if err := p.UnmarshalText(lines.Bytes()); err != nil {
				fail(fmt.Errorf("%w: %w", history.ErrCorrupt, err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if !repository.IsStoreError(err) {
				err = fmt.Errorf("%w: %w", history.ErrCorrupt, err)
			}
			fail(err)
		}
	}
}
