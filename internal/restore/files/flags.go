package files

import (
	"slices"
	"strings"
)

// has says that a message has a flag.
func has(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// keywords are the flags that users have made: those that a line of text can hold, and
// others, which no mail server takes.
func keywords(flags []string) (plain, odd []string) {
	for _, f := range flags {
		switch {
		case strings.HasPrefix(f, `\`):
		case f == "" || strings.ContainsFunc(f, func(r rune) bool { return r <= ' ' || r > '~' }):
			odd = append(odd, f)
		default:
			plain = append(plain, f)
		}
	}
	return plain, odd
}

// letters picks a letter for each flag that is set.
func letters(flags []string, table ...[2]string) string {
	var b strings.Builder
	for _, t := range table {
		if has(flags, t[0]) {
			b.WriteString(t[1])
		}
	}
	return b.String()
}
