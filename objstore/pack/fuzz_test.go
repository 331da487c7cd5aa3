package pack

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// With -fuzzminimizetime 20x: otherwise go test spends its time on minimizing inputs.

// fuzzLimit is the most memory for an object or a part of it. Each frame may have 4 MiB of content, however small it is.
func fuzzLimit(b []byte) int64 {
	frames := bytes.Count(b, []byte("\x28\xb5\x2f\xfd"))
	return 32<<20 + 16<<20*int64(frames) + 256*int64(len(b))
}

// FuzzReadDirectory reads a directory with a correct trailer and checksum, which no fuzzer
// would find, and the same bytes as a whole object.
func FuzzReadDirectory(f *testing.F) {
	obj, _, _ := sample(f)
	length, err := directoryLength(obj, int64(len(obj)))
	if err != nil {
		f.Fatal(err)
	}
	data := int64(len(obj)) - length
	f.Add(uint16(data), obj[data+skippableHead:len(obj)-trailerSize])
	f.Add(uint16(100), []byte("\x010123456789abcdef\x00\x00\x01\x64\x03\x01\x1000000000000000000000\x00"))
	f.Fuzz(func(t *testing.T, data uint16, payload []byte) {
		defer fuzztest.Limit(t, 4<<20+1<<10*int64(len(payload)))()
		dir := appendTrailer(append(make([]byte, skippableHead), payload...), 0)
		obj := append(make([]byte, data), dir...)
		d, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
		} else {
			checkEntries(t, d, int64(data))
		}
		if _, err := ReadDirectory(fetchFrom(payload), int64(len(payload))); err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
	})
}

// checkEntries checks that every entry is within the data, after the previous one.
func checkEntries(t *testing.T, d *Directory, data int64) {
	var off, skip int64
	for _, e := range d.Entries {
		if err := e.check(); err != nil {
			t.Fatal(err)
		}
		if e.Off < off || e.Len > data || e.Off > data-e.Len || e.Off == off && e.Skip <= skip && skip > 0 {
			t.Fatalf("entry %+v after offset %d, skip %d, in %d bytes", e, off, skip, data)
		}
		if e.Skip+padded(e.Size) > e.Raw {
			t.Fatalf("entry %+v is larger than its frames", e)
		}
		if got, ok := d.Lookup(e.Name); !ok || got != e {
			t.Fatalf("lookup of %+v finds %+v", e, got)
		}
		off, skip = e.Off, e.Skip
	}
}

func FuzzScan(f *testing.F) {
	obj, _, _ := sample(f)
	f.Add(obj)
	f.Add(obj[:len(obj)/2])
	f.Fuzz(func(t *testing.T, obj []byte) {
		defer fuzztest.Limit(t, fuzzLimit(obj))()
		seen := map[string][]byte{}
		err := Scan(bytes.NewReader(obj), func(name string, size int64, body io.Reader) error {
			b, err := io.ReadAll(io.LimitReader(body, 1<<20))
			if err == nil && CheckName(name) != nil {
				t.Fatalf("name %q", name)
			}
			if err == nil && int64(len(b)) != min(size, 1<<20) {
				t.Fatalf("entry %s: %d bytes of %d without an error", name, len(b), size)
			}
			seen[name] = b
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		// An object that is valid from its start is valid from its end.
		d, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
		if err != nil || len(d.Entries) != len(seen) {
			t.Fatalf("scan finds %d entries, then: %v", len(seen), err)
		}
		for _, e := range d.Entries {
			r := OpenEntry(e, bytes.NewReader(obj[e.Off:e.Off+e.Len]))
			b, err := io.ReadAll(io.LimitReader(r, 1<<20))
			if want, ok := seen[e.Name]; err != nil || !ok || !bytes.Equal(b, want) {
				t.Fatalf("entry %s: %d bytes, %v; scan gave %d", e.Name, len(b), err, len(want))
			}
			r.Close()
		}
	})
}

func FuzzOpenEntry(f *testing.F) {
	obj, d, _ := sample(f)
	for _, e := range d.Entries {
		f.Add(e.Name, e.Size, e.Len, e.Skip, e.Raw, obj[e.Off:e.Off+e.Len])
	}
	f.Fuzz(func(t *testing.T, name string, size, length, skip, raw int64, frames []byte) {
		defer fuzztest.Limit(t, fuzzLimit(frames))()
		r := OpenEntry(Entry{Name: name, Size: size, Len: length, Skip: skip, Raw: raw}, bytes.NewReader(frames))
		defer r.Close()
		n, err := io.Copy(io.Discard, r)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		if n > size && n > 0 || err == nil && n != size {
			t.Fatalf("%d bytes of %d, %v", n, size, err)
		}
	})
}
