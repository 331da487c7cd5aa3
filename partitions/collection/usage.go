package collection

import (
	"encoding/binary"
	"iter"
)

// usage is the number of entries of a pack that an object names: the pack, the kind of the object,
// a number that distinguishes it from others, and the number of entries.
type usage [32 + 1 + 4 + 4]byte

func (u *usage) raw() []byte { return u[:] }

// usageKind is a kind of objects, for an estimate of how many entries all of them name.
type usageKind byte

const (
	inLog    usageKind = iota // commits and segments up to the newest checkpoint
	afterLog                  // later ones
	inState                   // objects with places of the newest checkpoint
	inOthers                  // objects with places of other checkpoints only
	usageKinds
)

func newUsage(p Pack, kind usageKind, number, entries uint32) (u usage) {
	copy(u[:], p[:])
	u[32] = byte(kind)
	binary.BigEndian.PutUint32(u[33:], number)
	binary.BigEndian.PutUint32(u[37:], entries)
	return u
}

// usageSet is a set of usages, sorted by pack.
type usageSet = sortedSet[usage, *usage]

func newUsageSet(most int) *usageSet { return newSortedSet[usage, *usage](most) }

// packUse is a pack, and an estimate of how many of its entries are named.
type packUse struct {
	Pack
	entries uint64
	placed  bool // a place of a checkpoint is in it
	logged  bool // a place of the log is in it, or a note leads to it
}

// sums are the entries of a pack that the objects of each kind name, and the most in one of them.
type sums struct{ sum, most [usageKinds]uint64 }

// placed reports whether an object with places of checkpoints names the pack.
func (n *sums) placed() bool { return n.sum[inState]+n.sum[inOthers] > 0 }

// logged reports whether the log names the pack.
func (n *sums) logged() bool { return n.sum[inLog]+n.sum[afterLog] > 0 }

// ofBackup estimates how many entries of each pack a backup names. The log and the newest checkpoint
// name the same entries, and so do the checkpoints.
func ofBackup(s *usageSet) iter.Seq2[packUse, error] {
	return eachPack(s, func(n *sums) uint64 {
		return max(n.sum[inLog], n.sum[inState], n.most[inOthers]) + n.sum[afterLog]
	})
}

// ofAll adds the entries that several backups, or notes, name.
func ofAll(s *usageSet) iter.Seq2[packUse, error] {
	return eachPack(s, func(n *sums) (all uint64) {
		for _, k := range n.sum {
			all += k
		}
		return all
	})
}

// eachPack yields each pack once, in order.
func eachPack(s *usageSet, estimate func(*sums) uint64) iter.Seq2[packUse, error] {
	return func(yield func(packUse, error) bool) {
		var at Pack
		var n *sums
		for u, err := range s.sorted() {
			if err != nil {
				yield(packUse{}, err)
				return
			}
			p := Pack(u[:32])
			if n != nil && p != at {
				if !yield(packUse{at, estimate(n), n.placed(), n.logged()}, nil) {
					return
				}
				n = nil
			}
			if n == nil {
				at, n = p, &sums{}
			}
			entries := uint64(binary.BigEndian.Uint32(u[37:]))
			n.sum[u[32]] += entries
			n.most[u[32]] = max(n.most[u[32]], entries)
		}
		if n != nil {
			yield(packUse{at, estimate(n), n.placed(), n.logged()}, nil)
		}
	}
}

// both yields the packs of two sequences in order, each once.
func both(a, b iter.Seq2[packUse, error]) iter.Seq2[packUse, error] {
	return func(yield func(packUse, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		q, err, more := next()
		for p, perr := range a {
			for perr == nil && err == nil && more && comparePacks(q.Pack, p.Pack) < 0 {
				if !yield(q, nil) {
					return
				}
				q, err, more = next()
			}
			if perr == nil && err == nil && more && q.Pack == p.Pack {
				p.entries += q.entries
				p.placed, p.logged = p.placed || q.placed, p.logged || q.logged
				q, err, more = next()
			}
			if perr == nil {
				perr = err
			}
			if !yield(p, perr) || perr != nil {
				return
			}
		}
		for ; more; q, err, more = next() {
			if !yield(q, err) || err != nil {
				return
			}
		}
	}
}
