package attestation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// chain follows the lists of a partition, in the bucket and in a copy outside of it.
type chain struct {
	keys       PublicKeys
	repository string // id
	facts      facts

	// bucket and outside are the newest valid lists; nil = none. They need not be the same.
	bucket, outside *link
	lists           int      // valid ones in the bucket
	taken           uint64   // the highest number that a valid list has, anywhere
	uncopied        []uint64 // numbers that only the bucket has
	removed         []uint64 // numbers that only the copy has
	// foreigners are numbers with a signature that is not genuine, at most mostForeign of them.
	foreigners map[uint64]bool
	// other are the repositories of valid signatures that are not of this one, in the bucket and in the copy.
	other, otherOutside others
	// untrusted counts signatures by keys that are not trusted.
	untrusted map[uint64]*unknownKey
	// second is the valid list before the newest one in the bucket.
	second *link
}

// others are repositories of lists.
type others struct {
	one     string // id of the first; "" = none
	several bool
}

func (o *others) add(id string) {
	o.several = o.several || o.one != "" && o.one != id
	o.one = id
}

// followLists follows the lists of a partition whose repository has an id. If all valid ones are of one other repository,
// repository.json was replaced: that is a finding, and the lists stay what the partition is compared with. The copy outside of the
// bucket decides, because somebody may have put lists of other partitions into the bucket.
func followLists(ctx context.Context, p repository.Config, id string, keys PublicKeys, outside objstore.Store) (*chain, error) {
	c := &chain{keys: keys, repository: id}
	err := c.follow(ctx, p.Store, outside)
	from := c.otherOutside
	if from.one == "" {
		from = c.other
	}
	if err != nil || c.bucket != nil || c.outside != nil || from.one == "" || from.several {
		return c, err
	}
	former := &chain{keys: keys, repository: from.one}
	former.facts.add(finding(OfList, "repository.json has the id %s, and all lists are of the repository %s: it was replaced. Restore its former version, or put this id into it", id, from.one))
	return former, former.follow(ctx, p.Store, outside)
}

// mostForeign is how many forged signatures are remembered.
const mostForeign = 100_000

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
	c.reportUnknown()
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
	if err := c.foreign(l, &c.other); err != nil {
		if len(c.foreigners) == mostForeign {
			return
		}
		if c.foreigners == nil {
			c.foreigners = map[uint64]bool{}
		}
		c.foreigners[l.Number] = true
		if !c.unknown(l, err) {
			c.facts.add(finding(OfList, "list %d is not genuine: %v. Readers ignore it; remove %s (%s), or restore its former version", l.Number, err, SignatureKey(l.Number), fingerprint(l)))
		}
		if copied != nil && copied.valid() {
			c.facts.add(finding(OfList, "list %d was replaced: the copy outside of the bucket has a valid one", l.Number))
		}
		return
	}
	switch {
	case copied != nil && copied.valid() && !bytes.Equal(copied.Signature, l.Signature):
		c.facts.add(finding(OfList, "list %d (%s) differs from its copy outside of the bucket (%s)", l.Number, fingerprint(l), fingerprint(copied)))
	case mirrored && copied == nil:
		c.uncopied = append(c.uncopied, l.Number)
	}
	c.joins(l)
	switch {
	case l.size < 0:
		c.facts.add(finding(OfList, "list %d (%s) was removed; only its signature is left", l.Number, shown(l.Comment.Time)))
	case l.size != l.Comment.Bytes:
		c.facts.add(finding(OfList, "list %d (%s) was changed: it has %d bytes instead of %d", l.Number, shown(l.Comment.Time), l.size, l.Comment.Bytes))
	}
	c.second, c.bucket, c.taken = c.bucket, l, max(c.taken, l.Number)
	c.lists++
}

// joins reports a gap between a list and the valid one before it in the bucket.
func (c *chain) joins(l *link) {
	before := l.Comment.Previous
	switch {
	case before == nil && c.bucket == nil, before != nil && c.bucket != nil && *before == c.bucket.Comment.List:
	case before != nil && c.foreigners[before.Number]: // reported already, as not genuine
	case before == nil:
		c.facts.add(finding(OfList, "list %d does not continue list %d: somebody has begun with a new first list", l.Number, c.bucket.Number))
	case c.bucket == nil || before.Number > c.bucket.Number:
		c.facts.add(finding(OfList, "list %d was removed: list %d continues it", before.Number, l.Number))
	default:
		c.facts.add(finding(OfList, "list %d continues another list %d (%.16s…) than the one before it, list %d (%.16s…)", l.Number, before.Number, before.SHA256, c.bucket.Number, c.bucket.Comment.List.SHA256))
	}
}

// onlyOutside looks at a signature that the bucket does not have.
func (c *chain) onlyOutside(l *link) {
	if c.inCopy(l); l.valid() {
		c.missing(l)
		c.removed = append(c.removed, l.Number)
	}
}

// missing reports a list that the bucket has lost: one by one at first, and the others together.
func (c *chain) missing(l *link) {
	const most = 10
	if n := len(c.removed); n < most {
		c.facts.add(finding(OfList, "list %d (%s) is missing from the bucket, and the copy outside of it has it: the list was removed, or the bucket was set back to an older state", l.Number, shown(l.Comment.Time)))
	} else if n == most {
		c.facts.add(finding(OfList, "list %d (%s) and later ones are missing from the bucket, too", l.Number, shown(l.Comment.Time)))
	}
}

// fingerprint is the beginning of the SHA-256 of a signature, so that another object is another finding.
func fingerprint(l *link) string {
	if l.Signature == nil {
		return "unreadable"
	}
	return fmt.Sprintf("SHA-256 %.4x…", sha256.Sum256(l.Signature))
}

// inCopy notes a signature in the copy.
func (c *chain) inCopy(l *link) {
	if err := c.foreign(l, &c.otherOutside); err != nil {
		if l.Err = err; c.unknown(l, err) {
			return
		}
		c.facts.add(finding(OfList, "list %d in the copy outside of the bucket is not genuine: %v (%s)", l.Number, err, fingerprint(l)))
		return
	}
	c.outside, c.taken = l, max(c.taken, l.Number)
}

// foreign returns why a signature is not that of a list of this repository.
func (c *chain) foreign(l *link, other *others) error {
	if l.Err == nil && l.Comment.Repository != c.repository {
		other.add(l.Comment.Repository)
		return fmt.Errorf("it is of the repository %s, this one is %s", l.Comment.Repository, c.repository)
	}
	return l.Err
}

// newest returns the newest valid list, and whether it is that of the copy outside of the bucket. If the two have different
// lists with the same number, the copy decides.
func (c *chain) newest() (l *link, outside bool) {
	if c.outside != nil && (c.bucket == nil || c.outside.Number > c.bucket.Number ||
		c.outside.Number == c.bucket.Number && c.outside.Comment.List != c.bucket.Comment.List) {
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

// next returns the number of the next list: after all valid ones, and free. A number that somebody else has taken is
// skipped, but only one after the other: otherwise a single object could use up all numbers.
func (c *chain) next() uint64 {
	n := c.taken + 1
	for c.foreigners[n] {
		n++
	}
	return n
}
