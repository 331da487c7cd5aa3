package index

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// A long transaction with large values is committed in parts as well: Badger counts only their
// keys.
func TestLongTransactionOfLargeValues(t *testing.T) {
	commits := 0
	x, err := Open(t.TempDir(), Options{OnCommit: func(commit func() error) error {
		commits++
		return commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const n = 64
	value := bytes.Repeat([]byte("x"), 5<<18)
	err = x.UpdateLong(func(t *Txn) error {
		for i := range uint64(n) {
			if err := t.Set(binary.BigEndian.AppendUint64(Key{prefixItem}, i), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if commits < 8 {
		t.Errorf("%d commits for %d MiB", commits, n*len(value)>>20)
	}
	for i := range uint64(n) {
		err := x.View(func(txn *Txn) error {
			v, err := txn.Get(binary.BigEndian.AppendUint64(Key{prefixItem}, i))
			if err == nil && !bytes.Equal(v, value) {
				t.Errorf("value %d has %d bytes", i, len(v))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
