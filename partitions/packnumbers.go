package partitions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/index"
)

// packNumbers numbers the packs of a partition in its index, so that a place is two bytes
// long and not a hash. A number is stored before anything refers to it, is never reused, and
// keeps its pack when the contents of the partition are dropped.
type packNumbers struct {
	part *Partition

	storing sync.Mutex          // held while numbers are stored
	mu      sync.Mutex          // guards the fields below
	numbers map[[32]byte]uint64 // durable pairs, at most numbersAtOnce
	packs   map[uint64][32]byte
}

// numbersAtOnce bounds the pairs in memory, about 10 MB.
const numbersAtOnce = 1 << 16

// number returns the number of a pack. A new pack gets its number in one transaction.
func (n *packNumbers) number(pack [32]byte) (uint64, error) {
	list, err := n.numbersOf([][32]byte{pack})
	if err != nil {
		return 0, err
	}
	return list[0], nil
}

// numbersOf is number for several packs, in one transaction.
func (n *packNumbers) numbersOf(packs [][32]byte) (numbers []uint64, err error) {
	if numbers, known := n.known(packs); known {
		return numbers, nil
	}
	err = n.update(packs, func(_ *index.Txn, list []uint64) error {
		numbers = list
		return nil
	})
	return numbers, err
}

// update runs fn in a long transaction that also stores the numbers of packs. fn must not
// ask for the number of any other pack.
func (n *packNumbers) update(packs [][32]byte, fn func(t *index.Txn, numbers []uint64) error) error {
	n.storing.Lock()
	defer n.storing.Unlock()
	numbers, known := n.known(packs)
	err := n.part.set.index.UpdateLong(func(t *index.Txn) error {
		if !known {
			if err := n.store(t, packs, numbers); err != nil {
				return fmt.Errorf("number packs of partition %s: %w", n.part.name, err)
			}
		}
		return fn(t, numbers)
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, pack := range packs {
		n.remember(pack, numbers[i])
	}
	return nil
}

// known returns the numbers in memory, and whether they are all.
func (n *packNumbers) known(packs [][32]byte) (numbers []uint64, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	numbers, all = make([]uint64, len(packs)), true
	for i, pack := range packs {
		numbers[i] = n.numbers[pack]
		all = all && numbers[i] != 0
	}
	return numbers, all
}

// store finds or stores the missing numbers in out. The highest number is stored first,
// because the transaction can be split.
func (n *packNumbers) store(t *index.Txn, packs [][32]byte, out []uint64) error {
	k := index.LastPackKey(n.part.name)
	last, err := readNumber(t, k)
	if err != nil {
		return err
	}
	if err := t.Set(k, binary.AppendUvarint(nil, last+uint64(len(packs)))); err != nil {
		return err
	}
	for i, pack := range packs {
		if out[i] != 0 {
			continue
		}
		k := index.PackNumberKey(n.part.name, pack[:])
		if out[i], err = readNumber(t, k); err != nil {
			return err
		}
		if out[i] != 0 {
			continue
		}
		last++
		out[i] = last
		if err := t.Set(index.PackKey(n.part.name, last), bytes.Clone(pack[:])); err != nil {
			return err
		}
		if err := t.Set(k, binary.AppendUvarint(nil, last)); err != nil {
			return err
		}
	}
	return nil
}

// readNumber returns 0 if the key does not exist.
func readNumber(t *index.Txn, k index.Key) (v uint64, err error) {
	err = t.Value(k, func(b []byte) error {
		n := 0
		if v, n = binary.Uvarint(b); n != len(b) || v == 0 {
			return fmt.Errorf("index key %q: bad number", []byte(k))
		}
		return nil
	})
	if errors.Is(err, index.ErrNotFound) {
		return 0, nil
	}
	return v, err
}

// pack returns the pack with a number that a place in the index names. t is the transaction that
// has read the place.
func (n *packNumbers) pack(t *index.Txn, number uint64) (pack [32]byte, err error) {
	n.mu.Lock()
	pack, ok := n.packs[number]
	n.mu.Unlock()
	if ok {
		return pack, nil
	}
	// t may be older than the number, or may have just stored it: then it is not durable yet, and
	// not remembered.
	durable := false
	err = n.part.set.index.View(func(now *index.Txn) error {
		pack, err = n.read(now, number)
		durable = err == nil
		return err
	})
	if errors.Is(err, index.ErrNotFound) {
		pack, err = n.read(t, number)
	}
	if err != nil {
		return pack, fmt.Errorf("index: pack %d of partition %s: %w", number, n.part.name, err)
	}
	if durable {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.remember(pack, number)
	}
	return pack, nil
}

func (n *packNumbers) read(t *index.Txn, number uint64) (pack [32]byte, err error) {
	err = t.Value(index.PackKey(n.part.name, number), func(b []byte) error {
		if len(b) != len(pack) {
			return errors.New("bad hash")
		}
		copy(pack[:], b)
		return nil
	})
	return pack, err
}

func (n *packNumbers) remember(pack [32]byte, number uint64) {
	if n.numbers == nil || len(n.numbers) >= numbersAtOnce {
		n.numbers, n.packs = map[[32]byte]uint64{}, map[uint64][32]byte{}
	}
	n.numbers[pack], n.packs[number] = number, pack
}
