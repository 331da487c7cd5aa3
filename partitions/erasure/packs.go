package erasure

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
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

// listTag returns the ETag of the list, for putPacks; "" = there is none. Whoever changes the list asks before reading it.
func listTag(ctx context.Context, s objstore.Store, id string) (string, error) {
	return tagOf(ctx, s, repository.ErasurePacksKey(id))
}

func tagOf(ctx context.Context, s objstore.Store, key string) (string, error) {
	info, err := s.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return "", nil
	}
	return info.ETag, err
}

// putPacks puts the list, if it still has an ETag: a request that arrives late must take no pack off it. It goes through
// a temporary file, because the list can have any length. After an unclear answer it looks whether its put has succeeded.
func putPacks(ctx context.Context, s objstore.Store, id, etag string, packs iter.Seq2[collection.Pack, error]) (n int64, err error) {
	return putList(ctx, s, repository.ErasurePacksKey(id), etag, packs)
}

// putList is putPacks for any list of objects with hashes in their names.
func putList(ctx context.Context, s objstore.Store, key, etag string, list iter.Seq2[collection.Pack, error]) (n int64, err error) {
	f, err := os.CreateTemp("", "backupd-erased-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil {
		return 0, err
	}
	if n, err = writePacks(f, list); err != nil {
		return 0, fmt.Errorf("write the names of objects to a temporary file: %w", err)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if _, err = s.Put(ctx, key, io.NewSectionReader(f, 0, end), objstore.PutOptions{IfAbsent: etag == "", IfMatch: etag}); err == nil {
		return n, nil
	}
	if same, serr := hasBytes(ctx, s, key, io.NewSectionReader(f, 0, end)); serr == nil && same {
		return n, nil
	}
	return n, err
}

// hasBytes reports whether an object has these bytes.
func hasBytes(ctx context.Context, s objstore.Store, key string, want *io.SectionReader) (same bool, err error) {
	obj, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, obj.Close()) }()
	is, was := sha256.New(), sha256.New()
	if _, err := io.Copy(is, obj); err != nil {
		return false, err
	}
	if _, err := io.Copy(was, want); err != nil {
		return false, err
	}
	return bytes.Equal(is.Sum(nil), was.Sum(nil)), nil
}

func writePacks(w io.Writer, packs iter.Seq2[collection.Pack, error]) (n int64, err error) {
	// Hashes in hex have no repetitions.
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<17),
		zstd.WithAllLitEntropyCompression(true))
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
	return readList(ctx, s, repository.ErasurePacksKey(id))
}

func readList(ctx context.Context, s objstore.Store, key string) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		fail := func(err error) { yield(collection.Pack{}, fmt.Errorf("%s: %w", key, err)) }
		obj, err := s.Get(ctx, key, 0, -1)
		if err != nil {
			fail(err)
			return
		}
		defer obj.Close()
		if obj.Size == 0 { // the decoder takes it for a list without lines
			fail(fmt.Errorf("%w: it is empty", history.ErrCorrupt))
			return
		}
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

// existing yields the packs of an erasure that exist.
func existing(ctx context.Context, p repository.Config, e *repository.Erasure) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		next, stop := iter.Pull2(readPacks(ctx, p.Store, e.ID))
		defer stop()
		id, err, more := next()
		for info, lerr := range p.Store.List(ctx, "packs/", "") {
			if lerr != nil {
				yield(collection.Pack{}, lerr)
				return
			}
			for err == nil && more && history.PackKey(id) < info.Key {
				id, err, more = next()
			}
			if err != nil || !more {
				break
			}
			if history.PackKey(id) == info.Key && !yield(id, nil) {
				return
			}
		}
		for err == nil && more { // the rest of the list, so that its damage is noticed
			_, err, more = next()
		}
		if err != nil {
			yield(collection.Pack{}, err)
		}
	}
}
