package partitions

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A forged hole of any length ends at once. Until every backup has proven what it refers to,
// nothing of the partition is trusted.
func TestMarksOfLongHoles(t *testing.T) {
	missing := func(from, to uint64) history.LostRange {
		return history.LostRange{From: from, To: to, Reason: history.LostMissing}
	}
	for _, tt := range []struct {
		name       string
		checkpoint uint64
		lost       []history.LostRange
		marked     []uint64
		all        bool
	}{
		{"short", 9, []history.LostRange{missing(3, 4), missing(8, 12)}, []uint64{3, 4, 8, 9}, false},
		{"after the checkpoint", 9, []history.LostRange{missing(10, math.MaxUint64)}, nil, false},
		{"at the end of all numbers", math.MaxUint64, []history.LostRange{missing(math.MaxUint64-1, math.MaxUint64)},
			[]uint64{math.MaxUint64 - 1, math.MaxUint64}, false},
		{"long", math.MaxUint64, []history.LostRange{missing(3, math.MaxUint64-7)}, nil, true},
		{"all numbers", math.MaxUint64, []history.LostRange{missing(0, math.MaxUint64)}, nil, true},
		{"long together", math.MaxUint64, []history.LostRange{missing(1, mostMarks), missing(1<<40, 1<<40)}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, end := openPartition(t, filepath.Join(t.TempDir(), "index"))
			defer end()
			b := &Backup{set: p.set, part: p, path: "user/anne", entry: &entry{Checkpoint: tt.checkpoint}}
			if err := b.noteLostCommits(tt.lost); err != nil {
				t.Fatal(err)
			}
			if now := p.lossCount(); tt.all != (now.Invalid > 0) {
				t.Errorf("the count is %+v", now)
			}
			err := p.set.index.View(func(x *index.Txn) error {
				for _, n := range tt.marked {
					id := objectID(history.LogKey(b.path, n))
					if has, err := x.Has(index.LostKey(p.name, id[:])); err != nil || !has {
						t.Errorf("commit %d is not marked: %v", n, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
