package files

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// A mailbox of a million messages needs no more memory for the numbers in its file names.
func TestMaildirNumbers(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := dir.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d := &maildir{words: new(alphabet)}
	if _, err := d.peek(dir); err != nil {
		t.Fatal(err)
	}
	var g cyrus.GUID
	if a, b := d.number(g), d.number(g); a != 1 || b != 2 {
		t.Errorf("numbers %d and %d, want 1 and 2", a, b)
	}
	next := uint32(1)
	allocs := testing.AllocsPerRun(1, func() {
		for range 200_000 {
			binary.BigEndian.PutUint32(g[:], next)
			next += 0x9e3779b1 // spreads over all values
			d.number(g)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for 200,000 messages", allocs)
	}
}
