package erasure

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// fuzzBase is what a decoder may take for any input.
const fuzzBase = 24 << 20

// FuzzPacks reads the list of packs of an erasure: the lines of the input, compressed, and the input as the object.
func FuzzPacks(f *testing.F) {
	var list bytes.Buffer
	_, err := writePacks(&list, func(yield func(collection.Pack, error) bool) {
		_ = yield(collection.Pack{1}, nil) && yield(collection.Pack{2}, nil)
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list.Bytes())
	f.Add([]byte(strings.Repeat("ab", 32) + "\n" + strings.Repeat("CD", 32)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer enc.Close()
		for _, object := range [][]byte{b, enc.EncodeAll(b, nil)} {
			fuzztest.Within(t, fuzzBase+64*int64(len(b)), func() { tryPacks(t, object) })
		}
	})
}

// tryPacks reads a list. If it is accepted, tryPacks writes it again, and reads that.
func tryPacks(t *testing.T, object []byte) {
	t.Helper()
	const id = "00112233445566778899aabbccddeeff"
	s := memstore.New(nil)
	key := repository.ErasurePacksKey(id)
	if _, err := s.Put(t.Context(), key, bytes.NewReader(object), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	var packs []collection.Pack
	for p, err := range readPacks(t.Context(), s, id) {
		if err != nil {
			if repository.IsStoreError(err) || !history.IsDamage(err) || !strings.Contains(err.Error(), key) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		packs = append(packs, p)
	}
	if len(packs) == 0 {
		return
	}
	n, err := putPacks(t.Context(), s, id+"2", "", func(yield func(collection.Pack, error) bool) {
		for _, p := range packs {
			if !yield(p, nil) {
				return
			}
		}
	})
	if err != nil || n != int64(len(packs)) {
		t.Fatalf("%d packs were put, %v", n, err)
	}
	for p, err := range readPacks(t.Context(), s, id+"2") {
		if err != nil || p != packs[0] {
			t.Fatalf("%x, %v; want %x", p, err, packs[0])
		}
		packs = packs[1:]
	}
	if len(packs) > 0 {
		t.Fatalf("%d packs are lost", len(packs))
	}
}
