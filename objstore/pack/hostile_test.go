package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// directory makes the bytes of a directory frame with the given payload and a correct
// checksum.
func directory(payload ...any) []byte {
	b := make([]byte, skippableHead)
	for _, p := range payload {
		switch p := p.(type) {
		case int:
			b = binary.AppendUvarint(b, uint64(p))
		case string:
			b = append(b, p...)
		}
	}
	return appendTrailer(b, 0)
}

func TestHostileDirectories(t *testing.T) {
	const (
		head = "\x010123456789abcdef\x00\x00"
		data = 100 // bytes before the directory
		eml  = "\x1000000000000000000000"
	)
	// One frame of 100 bytes from 3 blocks: an empty entry and the end of the archive.
	good := []any{head, 1, 100, 3, 1, eml, 0}
	parse := func(payload ...any) error {
		obj := append(make([]byte, data), directory(payload...)...)
		_, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
		return err
	}
	if err := parse(good...); err != nil {
		t.Fatalf("the valid one: %v", err)
	}
	for _, c := range []struct {
		what string
		want error
		say  string
		with []any
	}{
		{"nothing", ErrCorrupt, "too short", nil},
		{"version", ErrVersion, "version 2", []any{strings.Replace(head, "\x01", "\x02", 1), 1, 100, 3, 1, eml, 0}},
		{"feature", ErrVersion, "features 0x2", []any{head[:17], 2, 0, 1, 100, 3, 1, eml, 0}},
		{"extension too long", ErrCorrupt, "extension", []any{head[:17], 0, 99, 1, 100, 3, 1, eml, 0}},
		{"key", ErrVersion, "encrypted", []any{head, 1, 100, 3, 1, "\x90" + eml[1:], 0}},
		{"dictionary", ErrVersion, "dictionary", []any{head, 1, 100, 3, 1, "\x50" + eml[1:], 0}},
		{"kind", ErrVersion, "kind 31", []any{head, 1, 100, 3, 1, "\x1f" + eml[1:], 0}},
		{"number where none may be", ErrCorrupt, "number before", []any{head, 1, 100, 3, 1, "\x23\x05", 0}},
		{"number too large", ErrCorrupt, "over", []any{head, 1, 100, 3, 1, "\x21", maxNumber + 1, 0}},
		{"varint without an end", ErrCorrupt, "number", []any{head, strings.Repeat("\xff", 20)}},
		{"more frames than bytes", ErrCorrupt, "over", []any{head, 1 << 40, 100, 3, 1, eml, 0}},
		{"more entries than allowed", ErrCorrupt, "over", []any{head, 1, 100, 3, maxEntries + 1, eml, 0}},
		{"more entries than there are", ErrCorrupt, "before an entry", []any{head, 1, 100, 3, 2, eml, 0}},
		{"fewer entries than there are", ErrCorrupt, "after its entries", []any{head, 1, 100, 3, 0, eml, 0}},
		{"half a name", ErrCorrupt, "within a name", []any{head, 1, 100, 3, 1, eml[:12]}},
		{"entry twice", ErrCorrupt, "duplicate", []any{head, 1, 100, 4, 2, eml, 0, eml, 0}},
		{"size", ErrCorrupt, "over", []any{head, 1, 100, 3, 1, eml, maxSize + 1}},
		{"large size", ErrCorrupt, "crosses", []any{head, 1, 100, 3, 1, eml, maxSize}},
		{"frame too large", ErrCorrupt, "over", []any{head, 1, 100, maxFrame/512 + 1, 1, eml, 0}},
		{"frame of nothing", ErrCorrupt, "frame 0", []any{head, 2, 0, 3, 100, 3, 1, eml, 0}},
		{"frame for nothing", ErrCorrupt, "frame 1", []any{head, 2, 50, 3, 50, 0, 1, eml, 0}},
		{"frames past the data", ErrCorrupt, "over 100", []any{head, 1, 101, 3, 1, eml, 0}},
		{"data without a frame", ErrCorrupt, "no frame", []any{head, 1, 99, 3, 1, eml, 0}},
		{"no frame at all", ErrCorrupt, "no frame", []any{head, 0, 1, eml, 0}},
		{"archive goes on", ErrCorrupt, "does not end", []any{head, 1, 100, 4, 1, eml, 0}},
		{"archive does not end", ErrCorrupt, "does not end", []any{head, 1, 100, 2, 1, eml, 0}},
		{"end of the archive in two frames", ErrCorrupt, "does not end", []any{head, 2, 50, 2, 50, 1, 1, eml, 0}},
		{"entry without a frame", ErrCorrupt, "past the last", []any{head, 1, 100, 1, 2, eml, 0, "\x01", 0}},
		{"body in the next frame", ErrCorrupt, "crosses", []any{head, 2, 50, 2, 50, 4, 1, eml, 1024}},
		{"body ends within a frame", ErrCorrupt, "do not end with it", []any{head, 2, 50, 1, 50, 4, 1, eml, 1024}},
	} {
		err := parse(c.with...)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v; want %v … %s", c.what, err, c.want, c.say)
		}
	}
}

func TestHostileTrailers(t *testing.T) {
	obj, _, _ := sample(t)
	n := len(obj)
	for what, change := range map[string]func(b []byte) []byte{
		"length past the object":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[n-trailerSize:], uint32(n+1)); return b },
		"length past the limit":   func(b []byte) []byte { binary.LittleEndian.PutUint32(b[n-trailerSize:], 1<<32-1); return b },
		"length below the least":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[n-trailerSize:], 27); return b },
		"a byte more":             func(b []byte) []byte { return append(b, 0) },
		"nothing but the trailer": func(b []byte) []byte { return b[n-trailerSize:] },
		"nothing":                 func(b []byte) []byte { return nil },
	} {
		b := change(bytes.Clone(obj))
		if _, err := ReadDirectory(fetchFrom(b), int64(len(b))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Frames that decompress to data that violates the format.
func TestHostileFrames(t *testing.T) {
	encode := func(raw []byte, o ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, o...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(raw, nil)
	}
	stream := func(raw []byte, o ...zstd.EOption) []byte {
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, o...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil { // so that the encoder does not know the size
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	name := strings.Repeat("1", 40) + ".eml"
	h := tarHeader(name, 512)
	raw := append(h[:], make([]byte, 512+tarEnd)...)
	lie := encode(raw)
	binary.LittleEndian.PutUint16(lie[5:], uint16(1024-256))
	window := encode(raw, zstd.WithSingleSegment(false))
	window[5] = (24 - 10) << 3 // 1 << 24
	start := func(block ...byte) []byte { return append(encode(raw)[:7:7], block...) }
	for _, c := range []struct {
		what, say string
		frame     []byte
	}{
		{"no checksum", "without checksum", encode(raw, zstd.WithEncoderCRC(false))},
		{"no size", "without checksum or size", stream(raw)},
		{"odd size", "frame of 2049 bytes", encode(append(raw, 0))},
		{"too large", "frame of 4194816 bytes", encode(make([]byte, maxFrame+512))},
		{"window", "window of 16777216", window},
		{"dictionary", "dictionary", encode(raw, zstd.WithEncoderDictRaw(7, raw))},
		{"more than it says", "1024", lie},
		{"skippable", "skippable", []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd")},
		{"reserved block", "type 3", start(7, 0, 0)},
		{"large block", "block of 200000", start(0x00, 0x6a, 0x18)},
		{"endless", "takes more than", start(make([]byte, 10_000)...)},
		{"text", "frame at 0", []byte("From: somebody, and more of it")},
	} {
		e := Entry{Name: name, Size: 512, Len: int64(len(c.frame)), Skip: 512}
		got, err := readEntry(c.frame, e)
		if !errors.Is(err, ErrCorrupt) || len(got) > 0 || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %d bytes, %v; want … %s", c.what, len(got), err, c.say)
		}
		err = Scan(bytes.NewReader(c.frame), func(string, int64, io.Reader) error { return nil })
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("scan: %s: %v; want … %s", c.what, err, c.say)
		}
	}
}

// An index may contain a wrong position of an entry.
func TestWrongPositions(t *testing.T) {
	obj, d, files := sample(t)
	for i, e := range d.Entries {
		for what, change := range map[string]func(*Entry){
			"name":            func(e *Entry) { e.Name = "passwd" },
			"other name":      func(e *Entry) { e.Name = strings.Repeat("9", 40) + ".eml" },
			"size":            func(e *Entry) { e.Size++ },
			"smaller size":    func(e *Entry) { e.Size-- },
			"huge size":       func(e *Entry) { e.Size = maxSize },
			"frame":           func(e *Entry) { e.Off++ },
			"length":          func(e *Entry) { e.Len-- },
			"no length":       func(e *Entry) { e.Len = 0 },
			"longer":          func(e *Entry) { e.Len++ },
			"skip":            func(e *Entry) { e.Skip += 512 },
			"odd skip":        func(e *Entry) { e.Skip++ },
			"skip past frame": func(e *Entry) { e.Skip = maxFrame },
			"negative skip":   func(e *Entry) { e.Skip = -512 },
			"raw":             func(e *Entry) { e.Raw += 512 },
		} {
			wrong := e
			change(&wrong)
			got, err := readEntry(obj, wrong)
			// The frames of a large entry do not contain its name; its hash identifies it.
			// They also do not show where in its last block it ends.
			if e.Skip == 0 && err == nil && (what == "other name" || what == "size") && bytes.HasPrefix(got, files[i].body) {
				continue
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("entry %d, %s: %d bytes, %v", i, what, len(got), err)
			}
		}
	}
}
