package cyrus

import (
	"slices"
	"strings"
)

// Meant are the internal names that a word on a command line can stand for, the likeliest
// first: the administrator's form, and the internal one, which the tools print and which
// Cyrus's own take for some options. Either can be written as people read it: in UTF-8,
// and with a lone &.
func (f AdminForm) Meant(word string) []string {
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
		if UTF7(FromUTF7(name)) == name { // others no mailbox has
			add(name)
		}
	}
	for _, name := range forms {
		add(UTF7(name))
	}
	return out
}

// isInternal says that a word can hardly be meant otherwise: with / between the levels,
// "user.anne" would be a shared mailbox with a dot in its name.
func isInternal(word string) bool {
	_, rest := splitDomain(word, "")
	return strings.HasPrefix(rest, "user.") && !strings.Contains(rest, "/") || rest != word
}
