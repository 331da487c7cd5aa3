package partitions

import (
	"crypto/sha256"
	"encoding/binary"
)

// choose picks the partition of a new backup by rendezvous hashing. Every host with the same
// partitions configured makes the same choice, and a new partition changes only the choices
// that it wins.
func choose(parts []*Partition, path string) *Partition {
	var best *Partition
	var high uint64
	for _, p := range parts {
		sum := sha256.Sum256([]byte(p.name + "\x00" + path))
		if w := binary.BigEndian.Uint64(sum[:8]); best == nil || w > high {
			best, high = p, w
		}
	}
	return best
}
