package collection

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A place in a checkpoint that names a rewritten pack costs a reader two more requests, and keeps the
// note about the pack needed. A checkpoint can be put again with the places of today (package
// maintenance). The count shows which backups have such a checkpoint, without any request for the
// others.

const (
	// mostOldPlaces is how many backups a pass names.
	mostOldPlaces = 1 << 12
	// mostListedNotes limits the memory for the names of notes to 16 MiB.
	mostListedNotes = 1 << 21
)

// noted are the packs about which there is a note with entries: the beginnings of their names,
// ascending.
type noted []uint64

func (n noted) has(p Pack) bool {
	_, found := slices.BinarySearch(n, binary.BigEndian.Uint64(p[:8]))
	return found
}

// listNoted lists the notes, if the pass looks for old places.
func (c *census) listNoted(ctx context.Context) error {
	if c.places == nil {
		return nil
	}
	for info, err := range c.store.List(ctx, movedPrefix, "") {
		if err != nil {
			return err
		}
		if about, ok := noteOf(info.Key); ok && info.Size > emptyNote && len(c.noted) < mostListedNotes {
			c.noted = append(c.noted, binary.BigEndian.Uint64(about[:8]))
		}
	}
	slices.Sort(c.noted)
	c.out.Noted = func(pack string) bool {
		p, ok := packOf(pack)
		return ok && c.noted.has(p)
	}
	return nil
}

// oldPlaces notes a backup with a checkpoint whose places may lead to noted packs.
func (c *census) oldPlaces(prefix string) {
	path, ok := strings.CutPrefix(strings.TrimSuffix(prefix, "/"), backupPrefix)
	if ok && c.places(path) {
		c.out.Places = inTurn(c.out.Places, path, c.now, mostOldPlaces)
	}
}

// inTurn adds a backup to a list. If there are too many, each night lists others, so that all are served: some may be
// on the list night after night.
func inTurn(list []string, path string, now time.Time, most int) []string {
	turn := func(path string) uint64 {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", now.Unix()/86400, path))
		return binary.BigEndian.Uint64(sum[:])
	}
	mine, n := turn(path), len(list)
	if n == most && mine > turn(list[n-1]) {
		return list
	}
	at, _ := slices.BinarySearchFunc(list, mine, func(p string, t uint64) int { return cmp.Compare(turn(p), t) })
	return slices.Insert(list, at, path)[:min(n+1, most)]
}
