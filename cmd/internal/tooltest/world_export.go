package tooltest

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Export writes all objects of the first partition into a directory, which can be used as a
// partition.
func Export(t *testing.T, w *World, dir string) {
	t.Helper()
	for info, err := range w.Stores[0].List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		o, err := w.Stores[0].Get(t.Context(), info.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(o)
		if closed := o.Close(); err == nil {
			err = closed
		}
		path := filepath.Join(dir, filepath.FromSlash(info.Key))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
