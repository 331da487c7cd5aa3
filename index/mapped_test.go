package index_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// The tables of an index are larger than the memory that they may take. Reading all of them
// must not leave them in the memory of the process.
func TestMappedPagesAreReleased(t *testing.T) {
	x, err := index.Open(t.TempDir(), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const records, size = 1 << 16, 2 << 10
	value := bytes.Repeat([]byte("x"), size)
	err = x.UpdateLong(func(tx *index.Txn) error {
		for i := range uint32(records) {
			v := binary.BigEndian.AppendUint32(bytes.Clone(value), i)
			if err := tx.Set(index.RecordKey(1, "u", i+1), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := fileMemory(t)
	read := 0
	err = x.View(func(tx *index.Txn) error {
		for _, err := range tx.Range(index.RecordPrefix(1, "u"), nil) {
			if err != nil {
				return err
			}
			read++
		}
		return nil
	})
	if err != nil || read != records {
		t.Fatalf("read %d records, %v", read, err)
	}
	time.Sleep(100 * time.Millisecond) // the check at the end of View may come too soon after another
	if after := fileMemory(t); after > 64<<20 {
		t.Errorf("the process has %d MiB of files mapped, %d before; the index has %d MiB", after>>20, before>>20, records*size>>20)
	}
}

// fileMemory returns the file-backed memory of this process.
func fileMemory(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(string(bytes.Fields(b)[2]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
