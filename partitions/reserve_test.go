package partitions_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// RESERVE answers the same whether the backup has few messages, which are read as a range, or
// many, which are looked up.
func TestReserveInABackup(t *testing.T) {
	for _, held := range []int{0, 1, 30, 1500} {
		for _, asked := range []int{1, 15, 16, 40, 400} {
			t.Run(fmt.Sprintf("%d of %d", asked, held), func(t *testing.T) {
				h := newHostWith(t, func(o *partitions.Options) { o.DedupPerBackup, o.NoCheckpoints = true, true }, newStore())
				box, other := filled("user.anne", held), filled("user.anne.other", 200)
				h.sync("anne", box)
				c := h.client()
				if _, _, err := c.getUser("anne"); err != nil {
					t.Fatal(err)
				}
				all := append(slices.Clone(box.records), other.records...)
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				var guids, want []cyrus.GUID
				for i := range asked {
					r := all[i*3/4%len(all)] // some are asked for twice
					guids = append(guids, r.GUID)
					if _, ok := box.bodies[r.GUID]; !ok {
						want = append(want, r.GUID)
					}
				}
				got, err := c.s.Reserve(t.Context(), "default", []string{"user.anne"}, guids)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%d are missing, want %d; %v", len(got), len(want), err)
				}
			})
		}
	}
}
