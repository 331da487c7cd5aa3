package pack

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

func TestReadBody(t *testing.T) {
	obj, d, files := sample(t)
	for i, e := range d.Entries {
		got, err := ReadBody(e, bytes.NewReader(obj[e.Off:][:e.Len]))
		if err != nil || !bytes.Equal(got, files[i].body) {
			t.Errorf("%s: %d bytes, want %d: %v", e.Name, len(got), len(files[i].body), err)
		}
	}
}

// A directory may state any size. It does not choose how much memory a reader takes.
func TestReadBodyOfForgedSize(t *testing.T) {
	obj, d, _ := sample(t)
	for _, size := range []int64{d.Entries[3].Size + 1, MaxBody, MaxBody + 1, maxSize, maxSize + 1, -1} {
		e := d.Entries[3]
		e.Size = size
		fuzztest.Within(t, 32<<20, func() {
			if _, err := ReadBody(e, bytes.NewReader(obj[e.Off:][:e.Len])); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes: %v", size, err)
			}
		})
	}
}
