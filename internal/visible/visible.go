// Package visible spells out what would move a terminal's cursor, change its settings,
// begin a line of its own, or show text in another order than it is in: names of mailboxes,
// subjects, senders and the answers of servers are written by strangers.
package visible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text spells out all of that in a text that is a part of a line.
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

// write spells a character out if that is needed. Above ASCII the form is JSON's, so that
// JSON remains what it is.
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

// hidden says that a character is not seen, or changes how others are: control characters,
// directions of text, separators of lines, and tags. A joiner within words is none.
func hidden(r rune) bool {
	switch {
	case r == '\u200c', r == '\u200d': // parts of words in Persian and Indian scripts, and of pictures
		return false
	case r == '\u2028', r == '\u2029':
		return true
	}
	return unicode.Is(unicode.C, r)
}
