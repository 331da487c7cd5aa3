package pack

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// file is an entry to write.
type file struct {
	name string
	body []byte
}

// build writes an object whose random bytes are zeros.
func build(t testing.TB, o Options, files []file) ([]byte, *Directory) {
	t.Helper()
	o.Random = bytes.NewReader(make([]byte, 16))
	w := NewWriter(nil, o)
	for _, f := range files {
		if err := w.Add(f.name, f.body); err != nil {
			t.Fatalf("add %s: %v", f.name, err)
		}
	}
	obj, err := w.Finish()
	if err != nil {
		t.Fatalf("finish: %v", err)
	}
	d, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
	if err != nil {
		t.Fatalf("read directory: %v", err)
	}
	return obj, d
}

// fetchFrom returns a Fetch of an object in memory.
func fetchFrom(obj []byte) Fetch {
	return func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off += int64(len(obj))
		}
		if off < 0 || n < 0 || off+n > int64(len(obj)) {
			return nil, fmt.Errorf("fetch %d bytes at %d of %d", n, off, len(obj))
		}
		return io.NopCloser(bytes.NewReader(obj[off : off+n])), nil
	}
}

// readEntry reads an entry like a client of a store.
func readEntry(obj []byte, e Entry) ([]byte, error) {
	if e.Off < 0 || e.Len < 0 || e.Off+e.Len > int64(len(obj)) {
		return nil, corrupt("range outside of the object")
	}
	r := OpenEntry(e, bytes.NewReader(obj[e.Off:e.Off+e.Len]))
	defer r.Close()
	return io.ReadAll(r)
}

// checkObject reads an object in both ways and compares it with the written entries.
func checkObject(t rapid.TB, obj []byte, files []file) {
	t.Helper()
	d, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
	if err != nil {
		t.Fatalf("read directory: %v", err)
	}
	if len(d.Entries) != len(files) {
		t.Fatalf("directory has %d entries, want %d", len(d.Entries), len(files))
	}
	for i, f := range files {
		e, ok := d.Lookup(f.name)
		if !ok || e != d.Entries[i] {
			t.Fatalf("entry %s: found %v %+v, listed %+v", f.name, ok, e, d.Entries[i])
		}
		if got, err := readEntry(obj, e); err != nil || !bytes.Equal(got, f.body) {
			t.Fatalf("entry %+v: %d bytes, %v", e, len(got), err)
		}
	}
	var i int
	err = Scan(bytes.NewReader(obj), func(name string, size int64, body io.Reader) error {
		if i%3 == 2 { // a caller that does not read everything
			i++
			return nil
		}
		got, err := io.ReadAll(body)
		if f := files[i]; err != nil || name != f.name || size != int64(len(f.body)) || !bytes.Equal(got, f.body) {
			t.Fatalf("scan: entry %s, %d of %d bytes, %v; want %s", name, len(got), size, err, f.name)
		}
		i++
		return nil
	})
	if err != nil || i != len(files) {
		t.Fatalf("scan: %d entries of %d, %v", i, len(files), err)
	}
}

// text returns n bytes that compress roughly like mail.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+100)
	for len(b) < n {
		if r.IntN(4) == 0 {
			b = append(b, "Received: from mx.example.org by backup.example.org with ESMTP\r\n"...)
		}
		for range r.IntN(70) {
			b = append(b, "etaoin shrdluETAOIN0123456789+/="[r.IntN(32)])
		}
		b = append(b, "\r\n"...)
	}
	return b[:n]
}

func TestSizes(t *testing.T) {
	var files []file
	for i, n := range []int{0, 1, 511, 512, 513, 5000, 200_000, 256<<10 - 512, 256<<10 - 511, 256 << 10, 256<<10 + 1, 9 << 20, 0, 100, 8 << 20, 1024} {
		files = append(files, file{fmt.Sprintf("%040x.eml", i), text(uint64(i), n)})
	}
	obj, _ := build(t, Options{}, files)
	checkObject(t, obj, files)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{
			Level:     Level(rapid.IntRange(0, 2).Draw(rt, "level")),
			FrameSize: rapid.SampledFrom([]int{1, 4 << 10, 10_000, 64 << 10, 0}).Draw(rt, "frame size"),
		}
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 1500), rapid.IntRange(0, 20_000), rapid.IntRange(0, 300_000)), 0, 30).Draw(rt, "sizes")
		var files []file
		for i, n := range sizes {
			files = append(files, file{drawName(rt, i), text(uint64(i), n)})
		}
		obj, _ := build(t, o, files)
		checkObject(rt, obj, files)
	})
}

// drawName returns an allowed name, different for every i.
func drawName(rt *rapid.T, i int) string {
	switch rapid.IntRange(0, 4).Draw(rt, "kind") {
	case 0:
		return fmt.Sprintf("%040x.eml", i)
	case 1:
		return fmt.Sprintf("%064x.part", i)
	case 2:
		return fmt.Sprintf("%016d/commit.ndjson", i)
	case 3:
		return fmt.Sprintf("%016d/%040x.eml", i, 7)
	default:
		return fmt.Sprintf("%064x.records", i)
	}
}
