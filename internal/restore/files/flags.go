package files

import (
	"slices"
	"strings"
)

// has says that a message has a flag.
func has(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// keywords are the flags that users have made.
func keywords(flags []string) []string {
	var out []string
	for _, f := range flags {
		if !strings.HasPrefix(f, `\`) {
			out = append(out, f)
		}
	}
	return out
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
