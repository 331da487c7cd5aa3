package mailtext

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold normalises text for comparison: case, composition, width and white space.
func Fold(s string) string {
	return strings.Join(strings.Fields(cases.Fold().String(norm.NFKC.String(s))), " ")
}

// Contains reports whether one of the fields contains text, which must be folded.
func (h Header) Contains(text string, fields ...string) bool {
	charset := h.Charset()
	has := func(s string) bool { return strings.Contains(Fold(s), text) }
	for _, f := range fields {
		for _, v := range h[f] {
			if has(Decode(v, charset)) || isAddresses(f) && has(Addresses(v, charset)) {
				return true
			}
			for _, r := range readings(v) {
				if has(r) || isAddresses(f) && has(Addresses(r, "")) {
					return true
				}
			}
		}
	}
	return false
}

// HasID reports whether the message has a Message-ID, given with or without brackets.
func (h Header) HasID(id string) bool {
	bare := func(s string) string { return strings.Trim(strings.TrimSpace(s), "<>") }
	for _, v := range h["message-id"] {
		if strings.EqualFold(bare(v), bare(id)) {
			return true
		}
	}
	return false
}
