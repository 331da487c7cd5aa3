// Package visible escapes characters that would move a terminal's cursor, change its settings, begin
// a new line, or reorder text. Names of mailboxes, subjects, senders and the responses of servers
// come from strangers.
package visible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text escapes such characters in a part of a line.
func Text(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		write(&b, r, s[:n])
		s = s[n:]
	}
	return b.String()
}

// write escapes a character if necessary. Above ASCII it uses the JSON form, so that JSON keeps its
// values.
func write(b *strings.Builder, r rune, raw string) {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		fmt.Fprintf(b, `\x%02x`, raw[0])
	case !hidden(r):
		b.WriteString(raw)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < ' ':
		fmt.Fprintf(b, `\x%02x`, r)
	case r > 0xffff:
		r -= 0x10000
		fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

// hidden reports whether a character is invisible or changes how others appear: control characters,
// text direction, line separators, and tags. Joiners within words are not hidden.
func hidden(r rune) bool {
	switch {
	case r == '\u200c', r == '\u200d': // part of words in Persian and Indian scripts, and of emoji
		return false
	case r == '\u2028', r == '\u2029':
		return true
	}
	return unicode.Is(unicode.C, r)
}
