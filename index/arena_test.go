package index_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// TestSetCopy overwrites the caller's key and value after each write, in a transaction that is
// committed in parts.
func TestSetCopy(t *testing.T) {
	const n = 20_000
	x := open(t, t.TempDir())
	defer x.Close()
	text := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%07d", i), 1+i%40) }
	guid := func(i int) (g cyrus.GUID) {
		copy(g[:], fmt.Appendf(nil, "%020d", i))
		return g
	}
	var long []byte
	key := index.MessageKey(1, make([]byte, len(cyrus.GUID{})))
	err := x.UpdateLong(func(txn *index.Txn) error {
		for i := range n {
			long = append(long[:0], text(i)...)
			if err := txn.SetCopy(key.WithGUID(guid(i)), long); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = x.View(func(txn *index.Txn) error {
		for i := range n {
			v, err := txn.Get(key.WithGUID(guid(i)))
			if err != nil || !bytes.Equal(v, text(i)) {
				return fmt.Errorf("message %d: %.20q…, %w", i, v, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSetCopyAllocatesLittle bounds the allocations before the commit.
func TestSetCopyAllocatesLittle(t *testing.T) {
	const n = 2000
	x := open(t, t.TempDir())
	defer x.Close()
	key, value := index.MessageKey(1, make([]byte, len(cyrus.GUID{}))), make([]byte, 40)
	err := x.Update(func(txn *index.Txn) error {
		i := uint16(0)
		per := testing.AllocsPerRun(n, func() {
			i++
			if err := txn.SetCopy(key.WithGUID(cyrus.GUID{byte(i), byte(i >> 8)}), value); err != nil {
				t.Fatal(err)
			}
		})
		if per > 1.5 { // one is Badger's
			t.Errorf("%.2f allocations for each write", per)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
