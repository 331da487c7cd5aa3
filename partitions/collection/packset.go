package collection

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Pack is the name of a pack: the SHA-256 of its bytes.
type Pack [32]byte

// MarshalText returns the hash in hex.
func (p Pack) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText reads a hash in hex.
func (p *Pack) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(p)) {
		return fmt.Errorf("%q: not a hash of %d bytes", text, len(p))
	}
	_, err := hex.Decode(p[:], text)
	return err
}

// packOf returns the pack with a key. ok is false for any other key.
func packOf(key string) (p Pack, ok bool) {
	name, found := strings.CutPrefix(key, packPrefix)
	if !found || len(name) < 3+hex.EncodedLen(len(p)) || p.UnmarshalText([]byte(name[3:3+hex.EncodedLen(len(p))])) != nil {
		return p, false
	}
	return p, history.PackKey(p) == key
}

// ParsePack returns the pack with a key.
func ParsePack(key string) (Pack, error) {
	p, ok := packOf(key)
	if !ok {
		return p, fmt.Errorf("%s: %w: not the key of a pack", key, history.ErrCorrupt)
	}
	return p, nil
}

const packPrefix = "packs/"

func comparePacks(a, b Pack) int { return bytes.Compare(a[:], b[:]) }

func (p *Pack) raw() []byte { return p[:] }

// packSet is a set of packs.
type packSet = sortedSet[Pack, *Pack]

const (
	packsOfAll    = 1 << 20 // 32 MiB, for the packs that all backups name
	packsOfBackup = 1 << 15 // 1 MiB
)

func newPackSet(most int) *packSet { return newSortedSet[Pack, *Pack](most) }
