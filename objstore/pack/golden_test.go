package pack

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/v1.tar.zst; only before version 1 is released")

const golden = "testdata/v1.tar.zst"

// goldenFiles are the entries of the golden object.
func goldenFiles() []file {
	guid := func(i int) string { return fmt.Sprintf("%040x.eml", i) }
	return []file{
		{"commit.ndjson", text(1, 2000)},
		{"places.ndjson", nil},
		{"state.ndjson", text(2, 5000)},
		{fmt.Sprintf("%064x.records", 0xfeed), text(3, 70_000)},
		{guid(1), text(4, 40_000)},
		{guid(2), bytes.Repeat([]byte("large\r\n"), 1_000_000)}, // two frames
		{fmt.Sprintf("%064x.part", 1), text(6, 70_000)},
		{"0000000000000042/commit.ndjson", text(7, 512)},
		{"0000000000000042/" + guid(3), text(8, 1)},
	}
}

// The golden object must stay readable forever, even if the compressor produces other
// output.
func TestGolden(t *testing.T) {
	files := goldenFiles()
	made, d := build(t, Options{FrameSize: 64 << 10}, files)
	if *update {
		if err := os.WriteFile(golden, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	obj, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	old, err := ReadDirectory(fetchFrom(obj), int64(len(obj)))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range old.Entries {
		if n := d.Entries[i]; n.Name != e.Name || n.Skip != e.Skip || n.Raw != e.Raw {
			t.Errorf("positions are %+v, were %+v", n, e)
		}
	}
	checkObject(t, obj, files)
}

// The example directory in docs/format.md.
func TestDirectoryBytes(t *testing.T) {
	commit, err := ParseName("commit.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	message := MessageName(sha1.Sum(nil))
	names := appendEntry(appendEntry(nil, &commit, 700), &message, 0)
	random := [16]byte([]byte("0123456789abcdef"))
	got := appendDirectory(nil, random, []frame{{900, 6 * 512}}, 2, names)
	const want = "" +
		"5b2a4d18" + "45000000" + // skippable frame of 69 bytes
		"01" + "30313233343536373839616263646566" + "00" + "00" + // version, random, features, extension
		"01" + "8407" + "06" + // one frame: 900 bytes, 6 blocks
		"02" + "01" + "bc05" + // two entries: commit.ndjson, 700 bytes
		"10" + "da39a3ee5e6b4b0d3255bfef95601890afd80709" + "00" + // <guid>.eml, 0 bytes
		"4d000000" + "8d3bf0eb5a4a6a50" + "626b75706469720a" // 77 bytes in total, checksum, magic
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}
