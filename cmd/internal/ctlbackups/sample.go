package ctlbackups

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// portion is the value of an option such as 5%, as a share of 1.
type portion float64

func (p *portion) String() string { return "" }
func (p *portion) Type() string   { return "share" }

// Set implements pflag.Value.
func (p *portion) Set(s string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !strings.HasSuffix(s, "%") || n <= 0 || n > 100 {
		return fmt.Errorf("%q is no share: write a percentage above 0%% and up to 100%%, such as 5%%", s)
	}
	*p = portion(n / 100)
	return nil
}

// spares is how many backups are kept in case that drawn ones have nothing to restore.
const spares = 100

// sampled draws backups at random: --users of them, or each with the probability --share, but at least
// one. Without these options it yields all. useful returns how many of the backups so far had
// something to restore; others are drawn in place of the rest.
func (c *command) sampled(backups iter.Seq2[*repository.Found, error], useful func() int) iter.Seq2[*repository.Found, error] {
	switch {
	case c.users > 0:
		return c.drawn(backups, c.users, useful)
	case c.share > 0:
		return c.drawnShare(backups, useful)
	}
	return backups
}

// drawn yields n useful backups, each with the same probability, after the last one was listed. Errors are
// yielded at once.
func (c *command) drawn(backups iter.Seq2[*repository.Found, error], n int, useful func() int) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		some := reservoir{most: n + spares, random: c.random}
		for f, err := range backups {
			if err == nil {
				some.add(f)
			} else if !yield(f, err) {
				return
			}
		}
		for _, f := range some.shuffled(n) {
			if useful() >= n || !yield(f, nil) {
				return
			}
		}
	}
}

// drawnShare yields each backup with the probability --share; if none of them is useful, others until one
// is.
func (c *command) drawnShare(backups iter.Seq2[*repository.Found, error], useful func() int) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		const precision = 1 << 30
		left := reservoir{most: spares, random: c.random}
		for f, err := range backups {
			if err == nil && float64(c.random(precision)) >= float64(c.share)*precision {
				left.add(f)
			} else if !yield(f, err) {
				return
			}
		}
		for _, f := range left.shuffled(1) {
			if useful() > 0 || !yield(f, nil) {
				return
			}
		}
	}
}

// reservoir keeps most of the backups that were added, each with the same probability (algorithm R).
type reservoir struct {
	most   int
	random func(n int) int
	kept   []listed
	seen   int
}

// listed is a backup with its place in a list.
type listed struct {
	f  *repository.Found
	at int
}

func (r *reservoir) add(f *repository.Found) {
	r.seen++
	if len(r.kept) < r.most {
		r.kept = append(r.kept, listed{f, r.seen})
	} else if i := r.random(r.seen); i < r.most {
		r.kept[i] = listed{f, r.seen}
	}
}

// shuffled returns the backups so that each has the same chance to be among the first ones: the place in a
// reservoir depends on that in the list. The first ones have the order of the list.
func (r *reservoir) shuffled(first int) (out []*repository.Found) {
	for i := len(r.kept) - 1; i > 0; i-- {
		k := r.random(i + 1)
		r.kept[i], r.kept[k] = r.kept[k], r.kept[i]
	}
	slices.SortFunc(r.kept[:min(first, len(r.kept))], func(a, b listed) int { return cmp.Compare(a.at, b.at) })
	for _, x := range r.kept {
		out = append(out, x.f)
	}
	return out
}

// random returns a number from 0 to n-1.
func (c *command) random(n int) int {
	if c.draw != nil {
		return c.draw(n)
	}
	return rand.IntN(n)
}
