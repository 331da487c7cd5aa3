package index

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// An index that is damaged when a running process opens it again is not replaced: the process
// has read numbers from it that mean something else in a new one.
func TestDamagedIndexIsNotReplacedWhileInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	var found []error
	x, err := Open(dir, Options{OnDamage: func(err error) { found = append(found, err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	x.end()
	x.done.Wait() // this test takes the place of the keeper
	if err := x.Update(func(tx *Txn) error { return tx.Set(BackupKey("user/anne"), []byte("{}")) }); err != nil {
		t.Fatal(err)
	}
	x.suspend(t.Context(), errors.New("the disk is full"))
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := x.open(); !errors.Is(err, errDamaged) {
			t.Fatalf("open: %v, want %v", err, errDamaged)
		}
	}
	if len(found) != 1 || !errors.Is(found[0], errDamaged) {
		t.Errorf("OnDamage was called with %v", found)
	}
	if err := x.View(func(*Txn) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("View: %v, want %v", err, ErrUnavailable)
	}
	if n := SetAside(dir); n != 0 {
		t.Errorf("%d indexes were set aside", n)
	}
	next, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if n := SetAside(dir); n != 1 {
		t.Errorf("the next process has set %d indexes aside, want 1", n)
	}
}
