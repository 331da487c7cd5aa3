package collection

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// packID is the beginning of the name of a pack: enough to measure sizes, not to decide about mail.
type packID uint64

func idOf(p Pack) packID { return packID(binary.BigEndian.Uint64(p[:])) }

// packLinks are packs in groups: notes lead from one pack of a group to another, so that entries with
// the same name are the same. Each pack leads to another one of its group, or is the root of it.
type packLinks map[packID]packID

// begin adds a pack as a group.
func (l packLinks) begin(p packID) { l[p] = p }

// link joins the groups of two packs, unless both are unknown.
func (l packLinks) link(a, b Pack) {
	from, to := idOf(a), idOf(b)
	_, fromKnown := l[from]
	_, toKnown := l[to]
	switch {
	case fromKnown && toKnown:
		l[l.root(from)] = l.root(to)
	case fromKnown:
		l[to] = from
	case toKnown:
		l[from] = to
	}
}

func (l packLinks) root(p packID) packID {
	for l[p] != p {
		p = l[p]
	}
	return p
}

// flatten makes each pack lead to its root.
func (l packLinks) flatten() {
	for p := range l {
		l[p] = l.root(p)
	}
}

func (l packLinks) has(p Pack) bool {
	_, ok := l[idOf(p)]
	return ok
}

// sharedBody is a body of the backup whose share is measured.
type sharedBody struct {
	chunk  uint64 // the beginning of its hash
	pack   packID // the root of its group
	bytes  int64
	packed bool
	shared bool // another backup names it
}

// sharedBodies are the bodies of a backup.
type sharedBodies []sharedBody

func (s *sharedBodies) add(c history.ChunkID, p Pack, packed bool, bytes int64) {
	*s = append(*s, sharedBody{chunk: hashOf(c), pack: idOf(p), bytes: bytes, packed: packed})
}

func hashOf(c history.ChunkID) uint64 { return binary.BigEndian.Uint64(c[:]) }

// settle sorts the bodies, and keeps the last of each chunk if it is in a pack.
func (s *sharedBodies) settle() {
	all := *s
	slices.SortStableFunc(all, func(a, b sharedBody) int { return cmp.Compare(a.chunk, b.chunk) })
	kept := all[:0]
	for i, b := range all {
		if last := i == len(all)-1 || all[i+1].chunk != b.chunk; last && b.packed {
			kept = append(kept, b)
		}
	}
	*s = kept
}

// mark notes that another backup names a chunk in a group of packs. It reports whether the chunk is a
// body here.
func (s sharedBodies) mark(c history.ChunkID, group packID) bool {
	i, ok := slices.BinarySearchFunc(s, hashOf(c), func(b sharedBody, h uint64) int { return cmp.Compare(b.chunk, h) })
	if !ok || s[i].pack != group {
		return false
	}
	s[i].shared = true
	return true
}

// sharedBytes adds up the bodies that are shared.
func (s sharedBodies) sharedBytes() (n int64) {
	for _, b := range s {
		if b.shared {
			n += b.bytes
		}
	}
	return n
}
