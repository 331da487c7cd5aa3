package index_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/index"
)

// An index of gigabytes has hundreds of tables, and master(8) allows a service 256 descriptors by
// default (maxfds).
func TestTablesKeepNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	tables := 0
	withDescriptors(t, 40, func() {
		x := open(t, dir)
		for backup := range uint64(96) {
			fillMiB(t, x, backup)
		}
		tables = tablesIn(t, dir)
		if n := openTables(t); n > 5 { // of a compaction
			t.Errorf("%d of %d tables are open", n, tables)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		x = open(t, dir)
		if n := openTables(t); n > 5 {
			t.Errorf("%d of %d tables are open", n, tables)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if tables < 20 {
		t.Errorf("the index has only %d tables", tables)
	}
}

// fillMiB writes a MiB in one transaction.
func fillMiB(t *testing.T, x *index.Index, backup uint64) {
	t.Helper()
	value := bytes.Repeat([]byte("x"), 1<<10)
	err := x.UpdateLong(func(tx *index.Txn) error {
		for uid := range uint32(1 << 10) {
			if err := tx.Set(index.RecordKey(backup, "u", uid), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tablesIn(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// openTables returns how many descriptors of this process are tables.
func openTables(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasSuffix(to, ".sst") {
			n++
		}
	}
	return n
}
