package history

import (
	"errors"
	"path/filepath"
	"testing"
)

// A directory for temporary files that cannot be used has a separate error: each large backup has it.
func TestTemporaryFileThatCannotBeWritten(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	s, err := newSpill()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close() //nolint:errcheck // nothing was written
	s.max = 0
	if _, err := s.put(nil, []byte("a block")); !errors.Is(err, ErrTemporaryFile) {
		t.Error(err)
	}
}
