package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// sample is a small object with entries of every kind: several frames, a large entry.
func sample(t testing.TB) ([]byte, *Directory, []file) {
	files := []file{
		{"commit.ndjson", text(1, 400)},
		{fmt.Sprintf("%040x.eml", 1), nil},
		{fmt.Sprintf("%064x.part", 2), text(2, 4600)},
		{fmt.Sprintf("%040x.eml", 3), text(3, 700)},
		{fmt.Sprintf("%040x.eml", 4), text(4, 3000)},
	}
	obj, d := build(t, Options{FrameSize: 4 << 10}, files)
	return obj, d, files
}

// checkDamaged reads a damaged object in every way: the result must be the original bytes
// or ErrCorrupt. d is the original directory, as an index would store it.
func checkDamaged(t rapid.TB, obj []byte, d *Directory, files []file, what string) (scanned int) {
	t.Helper()
	onlyCorrupt := func(err error) {
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s: %v is not ErrCorrupt", what, err)
		}
	}
	got, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
	onlyCorrupt(err)
	if err == nil && (!slices.Equal(got.Entries, d.Entries) || got.Random != d.Random) {
		t.Fatalf("%s: the directory differs", what)
	}
	for i, e := range d.Entries {
		body, err := readEntry(obj, e)
		onlyCorrupt(err)
		if err == nil && !bytes.Equal(body, files[i].body) {
			t.Fatalf("%s: wrong bytes of entry %s", what, e.Name)
		}
	}
	err = Scan(bytes.NewReader(obj), func(name string, _ int64, body io.Reader) error {
		b, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		if scanned >= len(files) || files[scanned].name != name || !bytes.Equal(files[scanned].body, b) {
			t.Fatalf("%s: scan gives wrong bytes of entry %s", what, name)
		}
		scanned++
		return nil
	})
	onlyCorrupt(err)
	if err == nil && scanned != len(files) {
		t.Fatalf("%s: scan ends after %d entries", what, scanned)
	}
	return scanned
}

func TestFlippedBits(t *testing.T) {
	obj, d, files := sample(t)
	for i := range obj {
		for _, bit := range []int{i % 4, i%4 + 4} {
			obj[i] ^= 1 << bit
			checkDamaged(t, obj, d, files, fmt.Sprintf("bit %d of byte %d flipped", bit, i))
			obj[i] ^= 1 << bit
		}
	}
}

func TestCutOff(t *testing.T) {
	obj, d, files := sample(t)
	most := 0
	for n := range obj {
		cut := obj[:n]
		if _, err := ReadDirectory(fetchFrom(cut), int64(n)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("directory of %d bytes of %d: %v", n, len(obj), err)
		}
		err := Scan(bytes.NewReader(cut), func(string, int64, io.Reader) error { return nil })
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("scan of %d bytes of %d: %v", n, len(obj), err)
		}
		scanned := checkDamaged(t, cut, d, files, fmt.Sprintf("cut after %d bytes", n))
		if scanned < most {
			t.Fatalf("%d bytes give %d entries, fewer bytes gave %d", n, scanned, most)
		}
		most = scanned
	}
	if most != len(files) {
		t.Errorf("all but the last byte give %d entries of %d", most, len(files))
	}
}

func TestDamage(t *testing.T) {
	obj, d, files := sample(t)
	rapid.Check(t, func(rt *rapid.T) {
		b := bytes.Clone(obj)
		for range rapid.IntRange(1, 4).Draw(rt, "times") {
			at := rapid.IntRange(0, len(b)).Draw(rt, "at")
			n := rapid.IntRange(0, min(600, len(b)-at)).Draw(rt, "bytes")
			switch rapid.IntRange(0, 3).Draw(rt, "how") {
			case 0:
				clear(b[at : at+n])
			case 1:
				b = slices.Delete(b, at, at+n)
			case 2:
				b = slices.Insert(b, at, bytes.Clone(b[at:at+n])...)
			case 3:
				to := rapid.IntRange(0, len(b)-n).Draw(rt, "to")
				copy(b[to:], bytes.Clone(b[at:at+n]))
			}
		}
		checkDamaged(rt, b, d, files, "damaged")
	})
}

// Errors of the store are not damage.
func TestErrorsOfTheStore(t *testing.T) {
	obj, d, _ := sample(t)
	for _, lost := range []error{errors.New("connection lost"), io.ErrUnexpectedEOF} {
		broken := func(n int64) io.Reader { return io.MultiReader(bytes.NewReader(obj[:n]), iotest.ErrReader(lost)) }
		for n := range int64(len(obj)) {
			err := Scan(broken(n), func(string, int64, io.Reader) error { return nil })
			if !errors.Is(err, lost) || errors.Is(err, ErrCorrupt) {
				t.Fatalf("scan, lost after %d bytes: %v", n, err)
			}
		}
		for _, e := range d.Entries {
			r := OpenEntry(e, io.MultiReader(bytes.NewReader(obj[e.Off:e.Off+e.Len-1]), iotest.ErrReader(lost)))
			if _, err := io.ReadAll(r); !errors.Is(err, lost) || errors.Is(err, ErrCorrupt) {
				t.Errorf("entry %s: %v", e.Name, err)
			}
		}
		for _, fetch := range []Fetch{
			func(int64, int64) (io.ReadCloser, error) { return nil, lost },
			func(int64, int64) (io.ReadCloser, error) { return io.NopCloser(broken(10)), nil },
		} {
			if _, err := ReadDirectory(fetch, int64(len(obj))); !errors.Is(err, lost) || errors.Is(err, ErrCorrupt) {
				t.Errorf("directory: %v", err)
			}
		}
	}
}

// Slow and unusual readers give the same bytes.
func TestReaders(t *testing.T) {
	obj, d, files := sample(t)
	for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		for i, e := range d.Entries {
			r := OpenEntry(e, slow(bytes.NewReader(obj[e.Off:]))) // bytes after e.Len are not read
			if err := iotest.TestReader(r, files[i].body); err != nil {
				t.Errorf("entry %s: %v", e.Name, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("read after close: %v", err)
			}
		}
		err := Scan(slow(bytes.NewReader(obj)), func(string, int64, io.Reader) error { return nil })
		if err != nil {
			t.Error(err)
		}
	}
}

func TestScanStops(t *testing.T) {
	obj, _, _ := sample(t)
	stop := errors.New("stop")
	var kept io.Reader
	err := Scan(bytes.NewReader(obj), func(_ string, _ int64, body io.Reader) error {
		kept = body
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("scan: %v", err)
	}
	if _, err := kept.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("body after scan: %v", err)
	}
}
