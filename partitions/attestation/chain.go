package attestation

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// chain follows the lists of a partition, in the bucket and in a copy outside of it.
type chain struct {
	keys       PublicKeys
	repository string // id
	report     func(*Finding)

	// bucket and outside are the newest valid lists; nil = none. They need not be the same.
	bucket, outside *link
	lists           int      // valid ones in the bucket
	taken           uint64   // the highest number that a valid list has, anywhere
	uncopied        []uint64 // numbers that only the bucket has
	removed         []uint64 // numbers that only the copy has
	// foreigners are numbers with a signature that is not genuine, at most mostForeign of them.
	foreigners map[uint64]bool
	// second is the valid list before the newest one in the bucket.
	second *link
	// marked are the newest lists in the bucket that have recorded findings.
	marked []*link
}

// mostForeign is how many forged signatures are remembered.
const mostForeign = 100_000

// mostMarked is how many lists with findings are named.
const mostMarked = 100

// follow reads all signatures. outside may be nil.
func (c *chain) follow(ctx context.Context, bucket, outside objstore.Store) error {
	out := pull(c.linksOutside(ctx, outside))
	defer out.stop()
	for l, err := range c.keys.links(ctx, bucket) {
		if err != nil {
			return err
		}
		for out.before(l.Number) {
			c.onlyOutside(out.take())
		}
		if out.err != nil {
			return out.err
		}
		var copied *link
		if out.at(l.Number) {
			copied = out.take()
		}
		c.inBucket(l, copied, outside != nil)
	}
	for out.more() {
		c.onlyOutside(out.take())
	}
	return out.err
}

// linksOutside yields the signatures in the copy; none if there is no copy.
func (c *chain) linksOutside(ctx context.Context, outside objstore.Store) iter.Seq2[*link, error] {
	if outside == nil {
		return func(func(*link, error) bool) {}
	}
	return c.keys.links(ctx, outside)
}

// inBucket looks at a signature in the bucket, and at that of the copy; nil = there is none.
func (c *chain) inBucket(l, copied *link, mirrored bool) {
	if copied != nil {
		c.inCopy(copied)
	}
	if err := c.foreign(l); err != nil {
		if len(c.foreigners) == mostForeign {
			return
		}
		if c.foreigners == nil {
			c.foreigners = map[uint64]bool{}
		}
		c.foreigners[l.Number] = true
		c.report(finding(OfList, "list %d is not genuine: %v. Readers ignore it; remove %s, or restore its former version", l.Number, err, SignatureKey(l.Number)))
		if copied != nil && copied.valid() {
			c.report(finding(OfList, "list %d was replaced: the copy outside of the bucket has a valid one", l.Number))
		}
		return
	}
	switch {
	case copied != nil && copied.valid() && !bytes.Equal(copied.Signature, l.Signature):
		c.report(finding(OfList, "list %d differs from its copy outside of the bucket", l.Number))
	case mirrored && copied == nil:
		c.uncopied = append(c.uncopied, l.Number)
	}
	c.joins(l)
	switch {
	case l.size < 0:
		c.report(finding(OfList, "list %d (%s) was removed; only its signature is left", l.Number, shown(l.Comment.Time)))
	case l.size != l.Comment.Bytes:
		c.report(finding(OfList, "list %d (%s) was changed: it has %d bytes instead of %d", l.Number, shown(l.Comment.Time), l.size, l.Comment.Bytes))
	}
	if l.Comment.Findings > 0 {
		if len(c.marked) == mostMarked {
			c.marked = c.marked[1:]
		}
		c.marked = append(c.marked, l)
	}
	c.second, c.bucket, c.taken = c.bucket, l, max(c.taken, l.Number)
	c.lists++
}

// joins reports a gap between a list and the valid one before it in the bucket.
func (c *chain) joins(l *link) {
	before := l.Comment.Previous
	switch {
	case before == nil && c.bucket == nil, before != nil && c.bucket != nil && *before == c.bucket.Comment.List:
	case before == nil:
		c.report(finding(OfList, "list %d does not continue list %d: somebody has begun with a new first list", l.Number, c.bucket.Number))
	case c.bucket == nil || before.Number > c.bucket.Number:
		c.report(finding(OfList, "list %d was removed: list %d continues it", before.Number, l.Number))
	default:
		c.report(finding(OfList, "list %d continues another list %d than the one before it", l.Number, before.Number))
	}
}

// onlyOutside looks at a signature that the bucket does not have.
func (c *chain) onlyOutside(l *link) {
	if c.inCopy(l); l.valid() {
		c.removed = append(c.removed, l.Number)
		c.report(finding(OfList, "list %d (%s) is missing from the bucket, and the copy outside of it has it: the list was removed, or the bucket was set back to an older state", l.Number, shown(l.Comment.Time)))
	}
}

// inCopy notes a signature in the copy.
func (c *chain) inCopy(l *link) {
	if err := c.foreign(l); err != nil {
		l.Err = err
		c.report(finding(OfList, "list %d in the copy outside of the bucket is not genuine: %v", l.Number, err))
		return
	}
	c.outside, c.taken = l, max(c.taken, l.Number)
}

// foreign returns why a signature is not that of a list of this repository.
func (c *chain) foreign(l *link) error {
	if l.Err == nil && l.Comment.Repository != c.repository {
		return fmt.Errorf("it is of the repository %s, this one is %s", l.Comment.Repository, c.repository)
	}
	return l.Err
}

// newest returns the newest valid list, and whether only the copy outside of the bucket has it.
func (c *chain) newest() (l *link, outside bool) {
	if c.outside != nil && (c.bucket == nil || c.outside.Number > c.bucket.Number) {
		return c.outside, true
	}
	return c.bucket, false
}

func shown(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// pulled are the signatures of a store, one at a time.
type pulled struct {
	next func() (*link, error, bool)
	stop func()
	head *link
	err  error
	end  bool
}

func pull(seq iter.Seq2[*link, error]) *pulled {
	p := new(pulled)
	p.next, p.stop = iter.Pull2(seq)
	return p
}

// more reports whether there is another signature.
func (p *pulled) more() bool {
	if p.head == nil && !p.end && p.err == nil {
		var more bool
		if p.head, p.err, more = p.next(); !more || p.err != nil {
			p.end, p.head = true, nil
		}
	}
	return p.head != nil
}

func (p *pulled) before(n uint64) bool { return p.more() && p.head.Number < n }
func (p *pulled) at(n uint64) bool     { return p.more() && p.head.Number == n }

func (p *pulled) take() *link {
	l := p.head
	p.head = nil
	return l
}

// acknowledged returns the newest list whose findings a person has acknowledged; 0 = none.
func (c *chain) acknowledged() uint64 {
	if l, _ := c.newest(); l != nil {
		return l.Comment.Acknowledged
	}
	return 0
}

// open returns the lists with findings that nobody has acknowledged.
func (c *chain) open() (open []*link) {
	for _, l := range c.marked {
		if l.Number > c.acknowledged() {
			open = append(open, l)
		}
	}
	return open
}

// unacknowledged describes the findings of a list that nobody has acknowledged.
func unacknowledged(l *link) *Finding {
	return finding(OfList, "list %d (%s) has recorded %d findings, and nobody has acknowledged them: look at each, then run ctl_backups seal -A --acknowledge", l.Number, shown(l.Comment.Time), l.Comment.Findings)
}

// next returns the number of the next list: after all valid ones, and free. A number that somebody else has taken is
// skipped, but only one after the other: otherwise a single object could use up all numbers.
func (c *chain) next() uint64 {
	n := c.taken + 1
	for c.foreigners[n] {
		n++
	}
	return n
}
