package cyrus

import (
	"slices"
	"strings"
)

// Candidates returns the possible internal names for a word on a command line, most likely
// first. The word may be in the administrator's form or in the internal form, which the
// tools print and some options of Cyrus's tools expect. Both forms also accept UTF-8 and a
// lone &.
func (f AdminForm) Candidates(word string) []string {
	forms := []string{f.Internal(word), word}
	if f.UnixHierarchySep && isInternal(word) {
		slices.Reverse(forms)
	}
	var out []string
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, name := range forms {
		if UTF7(FromUTF7(name)) == name { // no mailbox has another spelling
			add(name)
		}
	}
	for _, name := range forms {
		add(UTF7(name))
	}
	return out
}

// isInternal reports whether a word is almost certainly an internal name: with / between
// levels, "user.anne" would be a shared mailbox with a dot in its name.
func isInternal(word string) bool {
	_, rest := splitDomain(word, "")
	return strings.HasPrefix(rest, "user.") && !strings.Contains(rest, "/") || rest != word
}
