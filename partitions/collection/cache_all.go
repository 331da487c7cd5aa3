package collection

import "errors"

// errCache reports a cache that is missing or damaged.
var errCache = errors.New("what the last compact -A has counted on this host cannot be read: run compact -A again")

// eachCached calls fn with each record of a cache, for a reader that has no list of what should be in
// it: a cache without its end is an error.
func eachCached(name string, fn func(prefix string, packs *usageSet) error) (err error) {
	c := openCache(name)
	defer func() { err = errors.Join(err, c.close()) }()
	for !c.end {
		prefix := c.prefix
		packs, err := c.find(prefix, c.print)
		if err != nil {
			return err
		}
		if packs == nil {
			break
		}
		if prefix == cacheEnd {
			return packs.close()
		}
		if err := errors.Join(fn(prefix, packs), packs.close()); err != nil {
			return err
		}
	}
	return errCache
}
