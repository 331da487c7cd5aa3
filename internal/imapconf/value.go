package imapconf

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parse converts text to the option's number: the value of an Int, 0 or 1 for a Switch, the index
// in Words for an Enum or List, seconds for a Duration, bytes for a Size.
func (o *Option) parse(text string) (int64, error) {
	n, err := o.parseUnbounded(text)
	if err != nil {
		return 0, err
	}
	switch o.Type {
	case Int, Duration, Size:
		if (o.Min != 0 || o.Max != 0) && n < o.Min {
			return 0, errors.New("too small")
		}
		if o.Max != 0 && n > o.Max {
			return 0, errors.New("too large")
		}
		if o.Floor != 0 && n < o.Floor {
			n = o.Floor
		}
	}
	return n, nil
}

func (o *Option) parseUnbounded(text string) (int64, error) {
	switch o.Type {
	case Int:
		return parseInt(text)
	case Switch:
		return parseSwitch(text)
	case Enum:
		return parseEnum(text, o.Words)
	case List:
		for i, w := range o.Words {
			if w == text {
				return int64(i), nil
			}
		}
		return 0, errors.New("not one of the allowed words")
	case Duration:
		return parseDuration(text, o.unit())
	case Size:
		return parseSize(text, o.unit())
	default:
		return 0, nil
	}
}

// parseInt reads a number like strtol with base 0 (config_read_file, OPT_INT). Numbers beyond 32
// bits wrap in Cyrus; here they are errors.
func parseInt(text string) (int64, error) {
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 || digits == "" {
		return 0, errors.New("not a number")
	}
	base := 10
	switch {
	case len(digits) > 2 && (strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X")):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	// The sign was counted above; a second one here would be accepted by ParseInt.
	if digits[0] == '+' || digits[0] == '-' {
		return 0, errors.New("not a number")
	}
	n, err := strconv.ParseInt(digits, base, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > math.MaxInt32:
		return 0, errors.New("does not fit 32 bits")
	case err != nil:
		return 0, errors.New("not a number")
	case text[0] == '-':
		return -n, nil
	}
	return n, nil
}

// parseSwitch looks only at the first letters, like Cyrus (config_parse_switch): files with "yes #
// for now" work there and must work here.
func parseSwitch(text string) (int64, error) {
	switch {
	case text == "":
	case strings.ContainsRune("0nf", rune(text[0])), strings.HasPrefix(text, "of"):
		return 0, nil
	case strings.ContainsRune("1yt", rune(text[0])), strings.HasPrefix(text, "on"):
		return 1, nil
	}
	return 0, errors.New("neither yes nor no")
}

// parseEnum accepts a word of words, and any synonym of a word for on or off.
func parseEnum(text string, words []string) (int64, error) {
	for i, w := range words {
		if w == text {
			return int64(i), nil
		}
	}
	for _, synonyms := range [][]string{
		{"on", "1", "yes", "t", "true"},
		{"off", "0", "no", "f", "false"},
	} {
		if !contains(synonyms, text) {
			continue
		}
		for i, w := range words {
			if contains(synonyms, w) {
				return int64(i), nil
			}
		}
	}
	return 0, errors.New("not one of the allowed words")
}

func contains(words []string, w string) bool {
	for _, x := range words {
		if x == w {
			return true
		}
	}
	return false
}

// parseDuration returns seconds. A number at the end without a unit has the given unit, in "1h30"
// as well (config_parseduration). The sum must fit in 31 bits.
func parseDuration(text string, unit byte) (int64, error) {
	rest, neg := strings.CutPrefix(text, "-")
	if rest == "" {
		return 0, errors.New("no number")
	}
	if isDigit(rest[len(rest)-1]) {
		rest += string(unit)
	}
	var sum, n int64
	digits := false
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		if isDigit(c) {
			n = n*10 + int64(c-'0')
			digits = true
			if n > math.MaxInt32 {
				return 0, errors.New("too large")
			}
			continue
		}
		if !digits {
			return 0, fmt.Errorf("no number before %q", c)
		}
		seconds := map[byte]int64{'d': 86400, 'h': 3600, 'm': 60, 's': 1}[c]
		if seconds == 0 {
			return 0, fmt.Errorf("bad unit %q", c)
		}
		sum += n * seconds
		if sum > math.MaxInt32 {
			return 0, errors.New("too large")
		}
		n, digits = 0, false
	}
	if neg {
		sum = -sum
	}
	return sum, nil
}

// parseSize returns bytes (config_parsebytesize): digits, blanks, K M or G in either case, an i, a
// B. The multiples are powers of 1024.
func parseSize(text string, unit byte) (int64, error) {
	if text != "" && isDigit(text[len(text)-1]) {
		text += string(unit)
	}
	end := 0
	if end < len(text) && (text[end] == '-' || text[end] == '+') {
		end++
	}
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errors.New("too large")
	} else if err != nil {
		return 0, errors.New("no number")
	}
	suffix := strings.ToLower(strings.TrimLeft(text[end:], blanks))
	shift := 0
	if suffix != "" {
		shift = map[byte]int{'k': 10, 'm': 20, 'g': 30}[suffix[0]]
	}
	if shift != 0 {
		suffix = strings.TrimPrefix(suffix[1:], "i")
	}
	if suffix = strings.TrimPrefix(suffix, "b"); suffix != "" {
		return 0, fmt.Errorf("bad unit %q", suffix)
	}
	if n > math.MaxInt64>>shift || n < math.MinInt64>>shift {
		return 0, errors.New("too large")
	}
	return n << shift, nil
}

// blanks are the characters that C's isspace accepts.
const blanks = " \t\n\v\f\r"

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
