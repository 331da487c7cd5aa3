package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNames(t *testing.T) {
	guid, sum := strings.Repeat("0a", 20), strings.Repeat("f9", 32)
	for _, name := range []string{
		"commit.ndjson", "places.ndjson", "state.ndjson", "state.json", "backup.json", "directory.json",
		guid + ".eml", sum + ".part", sum + ".records", sum + ".messages", sum + ".places",
		"0000000000000001/commit.ndjson", "9999999999999999/places.ndjson", "0000000000000000/" + guid + ".eml", "0000000000000123/" + sum + ".part",
	} {
		b, err := appendName(nil, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, rest, err := cutName(append(b, "rest"...))
		if got != name || string(rest) != "rest" || err != nil {
			t.Errorf("%s comes back as %s, %q, %v", name, got, rest, err)
		}
		if n, err := ParseName(name); n.String() != name || err != nil {
			t.Errorf("%s is parsed as %s, %v", name, n, err)
		}
		if len(name) > 100 {
			t.Errorf("%s does not fit a ustar header", name)
		}
	}
	for _, name := range []string{
		"", "passwd", "/etc/passwd", "../commit.ndjson", "./commit.ndjson", "commit.ndjson/", "commit.ndjson\x00", "Commit.ndjson", "xcommit.ndjson",
		".eml", guid, guid[1:] + ".eml", "0" + guid + ".eml", strings.ToUpper(guid) + ".eml", guid[1:] + "g.eml", sum + ".eml", guid + ".part", sum + ".part.part",
		"0000000000000001/state.ndjson", "0000000000000001/backup.json", "0000000000000001/" + sum + ".records", "000000000000001/commit.ndjson",
		"00000000000000001/commit.ndjson", "000000000000000x/commit.ndjson", "0000000000000001/0000000000000001/commit.ndjson", "0000000000000001/", "/commit.ndjson",
		"0000000000000001.commit.ndjson", strings.Repeat("0", 1000),
	} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseLevel(t *testing.T) {
	for _, l := range []Level{Fastest, Default, Better} {
		if got, err := ParseLevel(l.String()); got != l || err != nil {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if l, err := ParseLevel(""); l != Fastest || err != nil {
		t.Errorf("empty: %v, %v", l, err)
	}
	_, err := ParseLevel("best")
	if err == nil || !strings.Contains(err.Error(), `"best": must be fastest, default or better`) {
		t.Errorf("best: %v", err)
	}
	w := NewWriter(nil, Options{Level: 9})
	if _, err := w.Finish(); err == nil {
		t.Error("unknown level is accepted")
	}
}

func TestRefusals(t *testing.T) {
	w := NewWriter(nil, Options{})
	add := func(name string, body string) error { return w.Add(name, []byte(body)) }
	if err := add("commit.ndjson", "{}\n"); err != nil {
		t.Fatal(err)
	}
	before := w.Len()
	if err := add("readme.txt", "x"); !errors.Is(err, ErrName) {
		t.Errorf("name: %v", err)
	}
	if err := add("commit.ndjson", "x"); !errors.Is(err, ErrDuplicate) {
		t.Errorf("duplicate: %v", err)
	}
	for _, size := range []int64{-1, maxSize + 1} {
		if err := w.AddReader("places.ndjson", size, strings.NewReader("")); !errors.Is(err, ErrTooLarge) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	if w.Len() != before || w.Count() != 1 {
		t.Errorf("%d bytes, %d entries after refusals; %d before", w.Len(), w.Count(), before)
	}
	obj, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, obj, []file{{"commit.ndjson", []byte("{}\n")}})
	if err := add("places.ndjson", "x"); err == nil {
		t.Error("add after finish")
	}
	if _, err := w.Finish(); err == nil {
		t.Error("finish after finish")
	}
	if w.Len() != len(obj) {
		t.Errorf("finished object of %d bytes, Len %d", len(obj), w.Len())
	}
}

// A body that ends too early leaves no trace.
func TestBrokenBodies(t *testing.T) {
	lost := errors.New("lost")
	var files []file
	w := NewWriter(nil, Options{})
	for i, size := range []int64{1, 1000, 300 << 10, 5 << 20, 9 << 20} {
		name := fmt.Sprintf("%040x.eml", i)
		body := text(uint64(i), int(size))
		for _, have := range []int64{0, size / 2, size - 1} {
			if err := w.AddReader(name, size, io.MultiReader(bytes.NewReader(body[:have]), iotest.ErrReader(lost))); !errors.Is(err, lost) {
				t.Errorf("%d of %d bytes: %v", have, size, err)
			}
			if err := w.AddReader(name, size+1, bytes.NewReader(body)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d bytes, not %d: %v", size, size+1, err)
			}
		}
		r := bytes.NewReader(append(body, "more"...))
		if err := w.AddReader(name, size, r); err != nil || r.Len() != 4 {
			t.Errorf("%d bytes: %v, %d left", size, err, r.Len())
		}
		files = append(files, file{name, body})
	}
	obj, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, obj, files)
}

func TestBufferIsUsed(t *testing.T) {
	buf := make([]byte, 1<<20)
	w := NewWriter(buf, Options{})
	if err := w.Add("commit.ndjson", text(1, 100_000)); err != nil {
		t.Fatal(err)
	}
	obj, err := w.Finish()
	if err != nil || &obj[0] != &buf[0] {
		t.Errorf("the object is in other memory, %v", err)
	}
}

// A Writer that is used again makes the same object as a new one, and takes no memory.
func TestReset(t *testing.T) {
	body := text(1, 100)
	fill := func(w *Writer, n int) []byte {
		for i := range n {
			name := MessageName([20]byte{byte(i), byte(i >> 8)})
			if w.Has(name) {
				t.Fatalf("%s is in an empty object", name)
			}
			if err := w.Put(name, body); err != nil || !w.Has(name) {
				t.Fatalf("put %s: %v", name, err)
			}
		}
		obj, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return obj
	}
	o := Options{Random: zeros{}}
	want := bytes.Clone(fill(NewWriter(nil, o), 2000))
	w := NewWriter(nil, o)
	fill(w, 3000)
	w.Reset()
	if got := fill(w, 2000); !bytes.Equal(got, want) {
		t.Errorf("an object of %d bytes, want %d", len(got), len(want))
	}
	if n := testing.AllocsPerRun(5, func() {
		w.Reset()
		fill(w, 2000)
	}); n > 1000 { // under the race detector, a sync.Pool drops a part of the encoders
		t.Errorf("%v allocations for 2000 entries", n)
	}
	w.Reset()
	if w.Count() != 0 || w.Len() > 1000 {
		t.Errorf("%d entries, %d bytes after Reset", w.Count(), w.Len())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Objects with the same content differ only in their random bytes.
func TestRandom(t *testing.T) {
	var objs [2][]byte
	for i := range objs {
		w := NewWriter(nil, Options{})
		if err := w.Add("commit.ndjson", []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
		objs[i], _ = w.Finish()
	}
	if bytes.Equal(objs[0], objs[1]) || len(objs[0]) != len(objs[1]) {
		t.Error("two objects with the same content are the same")
	}
	w := NewWriter(nil, Options{Random: iotest.ErrReader(io.ErrClosedPipe)})
	if _, err := w.Finish(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("without random bytes: %v", err)
	}
}

// Len guides the size of packs, so it must be close to the real size, and never below it.
func TestLen(t *testing.T) {
	w := NewWriter(nil, Options{})
	for i := range 3000 {
		if err := w.Add(fmt.Sprintf("%040x.eml", i), text(uint64(i), 2000)); err != nil {
			t.Fatal(err)
		}
	}
	n := w.Len()
	obj, err := w.Finish()
	if err != nil || n < len(obj) || n > len(obj)+DefaultFrameSize {
		t.Errorf("Len %d, object of %d bytes, %v", n, len(obj), err)
	}
}

// The directory takes one request, or two if there are very many entries.
func TestRequests(t *testing.T) {
	for _, c := range []struct{ entries, requests int }{{1, 1}, {2000, 1}, {4000, 2}} {
		var files []file
		for i := range c.entries {
			files = append(files, file{fmt.Sprintf("%040x.eml", i), nil})
		}
		obj, _ := build(t, Options{}, files)
		requests := 0
		d, err := ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
			requests++
			return fetchFrom(obj)(off, n)
		}, int64(len(obj)))
		if err != nil || requests != c.requests || len(d.Entries) != c.entries {
			t.Errorf("%d entries: %d requests, want %d; %v", c.entries, requests, c.requests, err)
		}
	}
}
