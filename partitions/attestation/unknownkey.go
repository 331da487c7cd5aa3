package attestation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// unknownKeyError reports a signature by a key that is not trusted.
type unknownKeyError struct{ id uint64 }

func (e unknownKeyError) Error() string {
	return fmt.Sprintf("%v: it is by the key %s, which is not trusted", ErrSignature, keyName(e.id))
}

func (e unknownKeyError) Unwrap() error { return ErrSignature }

// unknownKey are the signatures by a key that is not trusted. Probably a former key is missing from the option, so they are
// one finding.
type unknownKey struct {
	numbers map[uint64]bool
	first   uint64
	last    uint64
}

// mostKeys is how many unknown keys are told apart.
const mostKeys = 100

// unknown notes a signature by a key that is not trusted. It returns false if the signature is invalid for another reason.
func (c *chain) unknown(l *link, err error) bool {
	var e unknownKeyError
	if !errors.As(err, &e) {
		return false
	}
	if c.untrusted == nil {
		c.untrusted = map[uint64]*unknownKey{}
	}
	k := c.untrusted[e.id]
	if k == nil && len(c.untrusted) >= mostKeys {
		return false
	}
	if k == nil {
		k = &unknownKey{numbers: map[uint64]bool{}, first: l.Number}
		c.untrusted[e.id] = k
	}
	k.first, k.last = min(k.first, l.Number), max(k.last, l.Number)
	if len(k.numbers) < mostForeign {
		k.numbers[l.Number] = true
	}
	return true
}

// reportUnknown reports the keys that are not trusted.
func (c *chain) reportUnknown() {
	for _, id := range slices.Sorted(maps.Keys(c.untrusted)) {
		k := c.untrusted[id]
		if len(k.numbers) == 1 {
			c.facts.add(finding(OfList, "list %d is not genuine: %v. Readers ignore it; if the key is not a former one of yours, remove %s, or restore its former version", k.first, unknownKeyError{id}, SignatureKey(k.first)))
			continue
		}
		c.facts.add(finding(OfList, "lists %d to %d (%d) are not genuine: %v. Readers ignore them. Is backup_seal_public_keys complete?", k.first, k.last, len(k.numbers), unknownKeyError{id}))
	}
}
