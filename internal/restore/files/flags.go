package files

import (
	"slices"
	"strings"
)

// has reports whether a message has a flag.
func has(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// keywords returns the user-defined flags: plain ones that fit into a line of text, and odd ones,
// which no mail server accepts.
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

// letters returns the letter of each flag that is set.
func letters(flags []string, table ...[2]string) string {
	var b strings.Builder
	for _, t := range table {
		if has(flags, t[0]) {
			b.WriteString(t[1])
		}
	}
	return b.String()
}
