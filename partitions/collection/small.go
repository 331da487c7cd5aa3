package collection

import (
	"math/bits"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
)

// Small packs are merged: they are condemned together, and their rewrite copies the named entries of all
// of them to one new pack. A restore then reads one pack instead of many.
//
// A pack is merged only if nothing but checkpoints names it. These get the new places soon (package
// maintenance). A place in the log, or in a backup that was set aside, would cost its readers the note
// as well. Therefore small packs are merged when retention has removed the log that names them.
//
// Packs of about the same size are merged, many at a time, so that the new pack is larger than its class.
// No byte is thus rewritten more often than there are classes.

const (
	// mergedAtLeast is how many packs of a class are worth a merge. It is twice the ratio of classes, so
	// that the new pack is of a higher class even if half of the entries are dead.
	mergedAtLeast = 8
	// mergedAtMost is how many packs of a class are merged in a night.
	mergedAtMost = 256
	// smallPart is the part of the size of a new pack below which a pack is small.
	smallPart = 4
)

// smallPacks are the packs that can be merged, by class: each has four times the size of the one before.
type smallPacks [32][]objstore.Info

// add notes a used pack that is not on the list. Calls are in order.
func (s *smallPacks) add(info objstore.Info, u packUse, packSize int64) {
	if u.logged || info.Size <= 0 || info.Size > packSize/smallPart {
		return
	}
	class := &s[(bits.Len64(uint64(info.Size))-1)/2]
	if len(*class) < mergedAtMost {
		*class = append(*class, info)
	}
}

// merge adds small packs to packs that are condemned. The list has room for some in total.
func (s *sparse) merge(packs []Pack, room int) []Pack {
	for _, class := range s.small {
		group := make([]Pack, 0, len(class))
		var size int64
		for _, info := range class {
			id, ok := packOf(info.Key)
			if ok && size+info.Size <= s.left && len(packs)+len(group) < room && !slices.Contains(packs, id) {
				group, size = append(group, id), size+info.Size
			}
		}
		if len(group) < mergedAtLeast {
			continue
		}
		s.left -= size
		s.out.Thinning.Add(Amount{len(group), size})
		packs = append(packs, group...)
	}
	return packs
}
