package collection

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"time"
)

// sighting is a copy of a backup that a count has found: the hash of its path, the hash of its
// prefix, its newest commit, when its oldest object was put, and flags. Copies that were set aside
// have the same path.
type sighting [32 + 32 + 8 + 8 + 1]byte

const (
	sightedAside  = 1 << iota // the copy was set aside
	sightedRecent             // since the last pass (presence)
)

func (s *sighting) raw() []byte { return s[:] }

func (s *sighting) path() [32]byte   { return [32]byte(s[:32]) }
func (s *sighting) prefix() [32]byte { return [32]byte(s[32:64]) }
func (s *sighting) newest() uint64   { return binary.BigEndian.Uint64(s[64:]) }
func (s *sighting) first() int64     { return int64(binary.BigEndian.Uint64(s[72:])) } // Unix nanoseconds
func (s *sighting) aside() bool      { return s[80]&sightedAside != 0 }
func (s *sighting) recent() bool     { return s[80]&sightedRecent != 0 }

// sightingOf returns the sighting of a backup. before is the presence at the last pass.
func sightingOf(g group, before *presence) (s sighting) {
	path, aside := strings.CutPrefix(g.prefix, asidePrefix)
	if aside {
		path = path[:strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1]
	} else {
		path = strings.TrimPrefix(path, backupPrefix)
	}
	of, at := sha256.Sum256([]byte(path)), sha256.Sum256([]byte(g.prefix))
	copy(s[:], of[:])
	copy(s[32:], at[:])
	binary.BigEndian.PutUint64(s[64:], g.newest)
	binary.BigEndian.PutUint64(s[72:], uint64(g.first.UnixNano()))
	if aside {
		s[80] |= sightedAside
	}
	if before.setAside(g) {
		s[80] |= sightedRecent
	}
	return s
}

// sightings are all copies of backups that a count has found.
type sightings = sortedSet[sighting, *sighting]

const sightingsInMemory = 1 << 16 // 5 MiB

func newSightings() *sightings { return newSortedSet[sighting, *sighting](sightingsInMemory) }

// missing counts the backups that an earlier count has found and a later one has not, or not
// with all of their commits. A copy that was set aside meanwhile, or during the earlier count, replaces
// its original. A new user replaces nobody.
func missing(was, is *sightings) (n int, err error) {
	later, stop := iter.Pull2(is.sorted())
	defer stop()
	next, lerr, more := later()
	var before, after []sighting // of one path
	for s, err := range was.sorted() {
		if err != nil {
			return 0, err
		}
		if len(before) == 0 || before[0].path() != s.path() {
			n += lacking(before, after)
			before, after = before[:0], after[:0]
		}
		before = append(before, s)
		for more && lerr == nil && string(next[:32]) <= string(s[:32]) {
			if next.path() == s.path() {
				after = append(after, next)
			}
			next, lerr, more = later()
		}
		if lerr != nil {
			return 0, lerr
		}
	}
	return n + lacking(before, after), nil
}

// lacking counts the copies of one backup that are missing.
func lacking(before, after []sighting) (n int) {
	known := map[[32]byte]bool{}
	for _, b := range before {
		known[b.prefix()] = !isTwice(b, before)
	}
	for _, b := range before {
		found := false
		for _, a := range after {
			found = found || a.newest() >= b.newest() && (a.prefix() == b.prefix() || !known[a.prefix()])
		}
		if !found {
			n++
		}
	}
	return n
}

// presence counts the backups that were there at a time, so that new users do not hide that others
// are missing.
type presence struct {
	at    time.Time
	there int // backups with an object that was put by then
	aside int // copies that were set aside since then

	remade map[string]bool // prefixes of backups that were there, whatever the times of their objects
}

func (p *presence) add(g group) {
	switch {
	case p.setAside(g):
		p.aside++
	case !strings.HasPrefix(g.prefix, asidePrefix):
		if !g.first.After(p.at) || p.remade[g.prefix] {
			p.there++
		}
	}
}

// setAside reports whether the group is a copy that was set aside since the time.
func (p *presence) setAside(g group) bool {
	return strings.HasPrefix(g.prefix, asidePrefix) && g.last.After(p.at.Add(-listPrecision))
}

// listPrecision is more than the difference between the times of a list and those of answers.
const listPrecision = 2 * time.Second

// fewer returns an error if backups are missing that were there at the last pass.
func (p *presence) fewer(was *Totals, gone int) error {
	if p.there+p.aside+gone >= was.There {
		return nil
	}
	return fmt.Errorf("%w: %d of the %d backups of %s are there (and %d were set aside or erased since then): is everything mounted? If backups were removed on purpose, or the bucket was copied, remove %s", errMissing,
		p.there, was.There, was.Time.UTC().Format(time.RFC3339), p.aside+gone, ResultKey)
}
