package history

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// Directories of packs with many small messages take as much memory as a limited number of
// entries, however many packs there are.
func TestCachedDirectoriesAreLimitedByTheirEntries(t *testing.T) {
	o := NewObjects(memstore.New(nil), 0)
	o.maxEntries = 100
	for i := range 50 {
		o.keep(&object{key: fmt.Sprint(i), dir: &pack.Directory{Entries: make([]pack.Entry, 1+i)}})
		n := 0
		for e := o.used.Front(); e != nil; e = e.Next() {
			n += len(e.Value.(*object).dir.Entries)
		}
		if n > 100 || n != o.entries || o.used.Len() != len(o.byKey) || o.byKey[fmt.Sprint(i)] == nil {
			t.Fatalf("%d entries (%d) of %d and %d objects after object %d", n, o.entries, o.used.Len(), len(o.byKey), i)
		}
	}
	o.keep(&object{key: "large", dir: &pack.Directory{Entries: make([]pack.Entry, 1000)}})
	if o.used.Len() != 1 || o.byKey["large"] == nil {
		t.Errorf("%d objects beside a large one", o.used.Len()-1)
	}
}
