package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/index"
)

func open(t *testing.T, dir string) *index.Index {
	t.Helper()
	x, err := index.Open(dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func get(t *testing.T, x *index.Index, k index.Key) (v []byte, err error) {
	t.Helper()
	err = x.View(func(txn *index.Txn) error {
		var err error
		v, err = txn.Get(k)
		return err
	})
	return v, err
}

func TestUpdateIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	x := open(t, dir)
	if err := x.Update(func(txn *index.Txn) error { return txn.Set(index.MailboxKey(1, "abc"), []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir)
	defer x.Close()
	if v, err := get(t, x, index.MailboxKey(1, "abc")); err != nil || string(v) != "v" {
		t.Fatalf("after opening again: %q, %v", v, err)
	}
	if _, err := get(t, x, index.MailboxKey(2, "abc")); !errors.Is(err, index.ErrNotFound) {
		t.Fatalf("another backup's key: %v, want ErrNotFound", err)
	}
}

func TestFailedUpdateChangesNothing(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	boom := errors.New("boom")
	err := x.Update(func(txn *index.Txn) error {
		if err := txn.Set(index.NextBackupKey(), []byte("1")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := get(t, x, index.NextBackupKey()); !errors.Is(err, index.ErrNotFound) {
		t.Fatalf("half an update was written: %v", err)
	}
}

// UpdateLong commits a transaction that is too large for Badger in parts. The transaction
// sees its own writes.
func TestUpdateLong(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	const n = 60_000
	fill := func(txn *index.Txn) error {
		for i := range uint32(n) {
			if err := txn.Set(index.RecordKey(7, "u", i), []byte("record")); err != nil {
				return err
			}
		}
		if has, err := txn.Has(index.RecordKey(7, "u", 0)); err != nil || !has {
			return fmt.Errorf("own write is not visible: %v, %v", has, err)
		}
		return nil
	}
	if err := x.Update(fill); err == nil {
		t.Fatal("Update accepted 60,000 keys: this test no longer tests UpdateLong")
	}
	if err := x.UpdateLong(fill); err != nil {
		t.Fatal(err)
	}
	count := 0
	var last index.Key
	err := x.UpdateLong(func(txn *index.Txn) error {
		for e, err := range txn.Scan(index.RecordPrefix(7, "u"), nil) {
			if err != nil {
				return err
			}
			if bytes.Compare(last, e.Key) >= 0 {
				return fmt.Errorf("order: %q before %q", last, e.Key)
			}
			last = e.Key
			count++
			// Writing while scanning is allowed, also when it commits a part.
			if err := txn.Set(index.RecordKey(8, "u", uint32(count)), e.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || count != n {
		t.Fatalf("scanned %d, %v; want %d", count, err, n)
	}
	if err := x.DropBackup(7); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, x, index.RecordKey(7, "u", 5)); !errors.Is(err, index.ErrNotFound) {
		t.Fatalf("dropped record: %v", err)
	}
	if _, err := get(t, x, index.RecordKey(8, "u", 5)); err != nil {
		t.Fatalf("record of another backup: %v", err)
	}
}

func TestScanFrom(t *testing.T) {
	x := open(t, t.TempDir())
	defer x.Close()
	err := x.Update(func(txn *index.Txn) error {
		for _, uid := range []uint32{1, 2, 300, 70000} {
			if err := txn.Set(index.RecordKey(1, "u", uid), nil); err != nil {
				return err
			}
		}
		return txn.Set(index.RecordKey(1, "u2", 5), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = x.View(func(txn *index.Txn) error {
		for _, err := range txn.Scan(index.RecordPrefix(1, "u"), index.RecordKey(1, "u", 2)) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Fatalf("%d records from uid 2 on, %v; want 3", n, err)
	}
}

func TestSecondOpenFails(t *testing.T) {
	dir := t.TempDir()
	x := open(t, dir)
	defer x.Close()
	if _, err := index.Open(dir, index.Options{}); !errors.Is(err, index.ErrInUse) {
		t.Fatalf("second open: %v, want ErrInUse", err)
	}
}

// A damaged index costs a rebuild but never prevents startup.
func TestDamagedIndexIsSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	x := open(t, dir)
	if err := x.Update(func(txn *index.Txn) error { return txn.Set(index.NextBackupKey(), []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir)
	defer x.Close()
	if _, err := get(t, x, index.NextBackupKey()); !errors.Is(err, index.ErrNotFound) {
		t.Fatalf("new index: %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(dir + ".damaged"); err != nil {
		t.Fatal("the damaged index was not set aside:", err)
	}
}

func TestOtherFormatIsSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	x := open(t, dir)
	if err := x.Update(func(txn *index.Txn) error { return txn.Set(index.Key("v"), []byte("0")) }); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir)
	defer x.Close()
	if v, err := get(t, x, index.Key("v")); err != nil || string(v) == "0" {
		t.Fatalf("format %q, %v", v, err)
	}
}
