package tripwire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Option is the option of imapd.conf that sets the rule.
const Option = "backup_tripwire"

// Rule is how much must be deleted to fire. The zero value never fires.
type Rule struct {
	Share  int           // percent of the messages that were there when the window began
	Window time.Duration // within this time
	Least  int           // messages
}

// Forms describes the texts that Parse accepts.
const Forms = `no, or a share, a time and a least number of messages, such as "30% 1d 500": a share from 1% to 100%, a time from 1h to 30d`

const (
	shortest = time.Hour
	longest  = 30 * 24 * time.Hour
)

// On reports whether the rule can fire.
func (r Rule) On() bool { return r.Share > 0 }

// String returns the text that Parse reads.
func (r Rule) String() string {
	if !r.On() {
		return "no"
	}
	return fmt.Sprintf("%d%% %s %d", r.Share, days(r.Window), r.Least)
}

// days prints a time without zero minutes and seconds.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return fmt.Sprintf("%dh", d/time.Hour)
}

// Parse reads a rule. The parts are separated by blanks, in any order.
func Parse(text string) (Rule, error) {
	words := strings.Fields(text)
	if len(words) == 1 && words[0] == "no" {
		return Rule{}, nil
	}
	if len(words) != 3 {
		return Rule{}, fmt.Errorf("%q: write %s", text, Forms)
	}
	var r Rule
	for _, w := range words {
		if err := r.part(w); err != nil {
			return Rule{}, fmt.Errorf("%q: %w: write %s", text, err, Forms)
		}
	}
	switch {
	case r.Share < 1 || r.Share > 100:
		return Rule{}, fmt.Errorf("%q: the share is not from 1%% to 100%%", text)
	case r.Window < shortest || r.Window > longest:
		return Rule{}, fmt.Errorf("%q: the time is not from 1h to 30d", text)
	case r.Least < 1:
		return Rule{}, fmt.Errorf("%q: the number of messages is not positive", text)
	}
	return r, nil
}

var errTwice = errors.New("two parts of the same kind")

// part reads a share, a time or a number.
func (r *Rule) part(word string) error {
	unit := word[len(word)-1]
	digits := strings.TrimRight(word, "%dh")
	if unit >= '0' && unit <= '9' {
		unit = 0
	} else if len(digits) != len(word)-1 {
		return fmt.Errorf("%q has an unknown unit", word)
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number with %%, d, h or nothing", word)
	}
	switch unit {
	case '%':
		return set(&r.Share, int(n))
	case 'd':
		return set(&r.Window, time.Duration(min(n, 1000))*24*time.Hour)
	case 'h':
		return set(&r.Window, time.Duration(min(n, 100_000))*time.Hour)
	}
	return set(&r.Least, int(n))
}

func set[T int | time.Duration](v *T, to T) error {
	if *v != 0 {
		return errTwice
	}
	*v = to
	return nil
}
