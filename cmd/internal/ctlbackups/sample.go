package ctlbackups

import (
	"fmt"
	"iter"
	"math/rand/v2"
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

// sampled draws backups at random: --users of them, or each with the probability --share, but at least
// one. It holds no more than it yields. Without these options it yields all.
func (c *command) sampled(backups iter.Seq2[*repository.Found, error]) iter.Seq2[*repository.Found, error] {
	switch {
	case c.users > 0:
		return c.drawn(backups, c.users)
	case c.share > 0:
		return c.drawnShare(backups)
	}
	return backups
}

// drawn yields n of the backups, each with the same probability (algorithm R), after the last one was
// listed. Errors are yielded at once.
func (c *command) drawn(backups iter.Seq2[*repository.Found, error], n int) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		var some []*repository.Found
		seen := 0
		for f, err := range backups {
			if err != nil {
				if !yield(f, err) {
					return
				}
				continue
			}
			seen++
			if len(some) < n {
				some = append(some, f)
			} else if i := c.random(seen); i < n {
				some[i] = f
			}
		}
		for _, f := range some {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// drawnShare yields each backup with the probability --share; if that is none, one of them.
func (c *command) drawnShare(backups iter.Seq2[*repository.Found, error]) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		const precision = 1 << 30
		none := true
		yieldOr := func(f *repository.Found, err error) bool {
			none = none && err != nil
			return yield(f, err)
		}
		var left *repository.Found // a backup that was not drawn
		seen := 0
		for f, err := range backups {
			if err == nil && float64(c.random(precision)) >= float64(c.share)*precision {
				seen++
				if c.random(seen) == 0 {
					left = f
				}
				continue
			}
			if !yieldOr(f, err) {
				return
			}
		}
		if none && left != nil {
			yield(left, nil)
		}
	}
}

// random returns a number from 0 to n-1.
func (c *command) random(n int) int {
	if c.draw != nil {
		return c.draw(n)
	}
	return rand.IntN(n)
}
