package cdc

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// noise returns n bytes that look like a base64 attachment; they depend only on the seed.
func noise(seed byte, n int) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	r.Read(b)
	for i := range b {
		if i%78 == 76 {
			b[i] = '\r'
		} else if i%78 == 77 {
			b[i] = '\n'
		} else {
			b[i] = alphabet[b[i]&63]
		}
	}
	return b
}

// cut returns the sizes and the hashes of the chunks.
func cut(t rapid.TB, r io.Reader) (sizes []int, sums [][32]byte) {
	t.Helper()
	err := Cut(r, func(chunk []byte) error {
		sizes = append(sizes, len(chunk))
		sums = append(sums, sha256.Sum256(chunk))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes, sums
}

// The cuts belong to the format: if this fails, stored attachments will not be found again.
// Do not change the numbers; use another library.
func TestGolden(t *testing.T) {
	got, _ := cut(t, bytes.NewReader(noise(1, 6_000_000)))
	want := []int{537675, 549930, 813563, 328941, 573418, 586709, 323118, 619314, 528910, 682307, 456115}
	if !slices.Equal(got, want) {
		t.Errorf("cuts %d, want %d", got, want)
	}
	if MinSize != 262144 || NormalSize != 524288 || MaxSize != 1048576 || Name != "fastcdc-1" {
		t.Error("the parameters have changed, so the name must change too")
	}
}

func TestChunksCoverTheInput(t *testing.T) {
	all := noise(2, 5_000_000)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(MinSize-1, MinSize+1), rapid.IntRange(MaxSize-1, MaxSize+1), rapid.IntRange(0, len(all))).Draw(rt, "bytes")
		wrap := rapid.SampledFrom([]func(io.Reader) io.Reader{iotest.HalfReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r }}).Draw(rt, "reader")
		left, last := all[:n], MinSize
		err := Cut(wrap(bytes.NewReader(left)), func(chunk []byte) error {
			if last < MinSize || len(chunk) == 0 || len(chunk) > MaxSize {
				rt.Fatalf("chunk of %d bytes after one of %d", len(chunk), last)
			}
			if !bytes.HasPrefix(left, chunk) {
				rt.Fatalf("wrong bytes, %d from the end", len(left))
			}
			left, last = left[len(chunk):], len(chunk)
			return nil
		})
		if err != nil || len(left) > 0 {
			rt.Fatalf("%v, %d bytes left", err, len(left))
		}
	})
}

// The same attachment in another message gives the same chunks except at its ends.
func TestSharedAttachment(t *testing.T) {
	attachment := noise(3, 8<<20)
	text, tail := noise(4, 900_000), noise(5, 900_000)
	rapid.Check(t, func(rt *rapid.T) {
		seen := map[[32]byte]int{}
		message := func(label string) io.Reader {
			// headers have any length; the attachment starts on a new line
			before := text[:rapid.IntRange(0, len(text)).Draw(rt, label+" before")]
			after := tail[:rapid.IntRange(0, len(tail)).Draw(rt, label+" after")]
			return io.MultiReader(bytes.NewReader(before), bytes.NewReader(attachment), bytes.NewReader(after))
		}
		sizes, sums := cut(rt, message("first"))
		for i, s := range sums {
			seen[s] = sizes[i]
		}
		_, sums = cut(rt, message("second"))
		shared := 0
		for _, s := range sums {
			shared += seen[s]
		}
		if shared < len(attachment)*6/10 {
			rt.Fatalf("%d bytes are found again of %d", shared, len(attachment))
		}
	})
}

func TestErrors(t *testing.T) {
	lost := errors.New("lost")
	for _, want := range []error{lost, io.ErrUnexpectedEOF} {
		for _, n := range []int{0, 1000, 3 << 20} {
			r := io.MultiReader(bytes.NewReader(noise(6, n)), iotest.ErrReader(want))
			if err := Cut(r, func([]byte) error { return nil }); !errors.Is(err, want) {
				t.Errorf("lost after %d bytes: %v", n, err)
			}
		}
		calls := 0
		err := Cut(bytes.NewReader(noise(6, 3<<20)), func([]byte) error { calls++; return want })
		if !errors.Is(err, want) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
	}
	if err := Cut(bytes.NewReader(nil), func([]byte) error { return lost }); err != nil {
		t.Errorf("nothing to cut: %v", err)
	}
}

func BenchmarkCut(b *testing.B) {
	all := noise(7, 16<<20)
	b.SetBytes(int64(len(all)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Cut(bytes.NewReader(all), func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
