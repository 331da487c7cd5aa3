package index

import "testing"

// A transaction reads the memory of the process at its end, so this opens and allocates nothing.
func TestFileMemoryCostsLittle(t *testing.T) {
	var f fileMemory
	if n, err := f.read(); n <= 0 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	file := f.file
	n := testing.AllocsPerRun(100, func() {
		if _, err := f.read(); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 || f.file != file {
		t.Errorf("%v allocations, the file was opened again: %t", n, f.file != file)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.read(); n <= 0 || err != nil {
		t.Errorf("after close: %d bytes, %v", n, err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
}
