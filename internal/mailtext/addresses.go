package mailtext

import (
	"regexp"
	"strings"
)

// wordHere is an encoded word at the beginning of a text; no character in it is a separator.
var wordHere = regexp.MustCompile(`^` + encodedWord.String())

// Addresses formats a list of addresses: without comments, without quotes and backslashes of names,
// without space within addresses, and with encoded words decoded. It parses the structure first,
// because decoded text has none.
func Addresses(v, charset string) string {
	v = Unlabelled(v, charset) // some charsets use the bytes of quotes and brackets within characters
	var b builder
	for i := 0; i < len(v); {
		if m := encodedAt(v, i); m != "" {
			if b.space {
				b.blank()
			}
			b.word = append(b.word, m...)
			i += len(m)
			continue
		}
		switch v[i] {
		case '(':
			i = comment(v, i)
			b.space = true
		case '"':
			i = b.quoted(v, i, charset)
		case ' ', '\t', '\r', '\n':
			b.space = true
			i++
		case '@', '.', '<', '>', ',', ';', ':':
			b.mark(v[i], charset)
			i++
		default:
			if b.space {
				b.blank()
			}
			b.word = append(b.word, v[i])
			i++
		}
	}
	b.flush(charset)
	return b.out.String()
}

// encodedAt returns the encoded word at position i; "" = none.
func encodedAt(v string, i int) string {
	if v[i] != '=' {
		return ""
	}
	return wordHere.FindString(v[i:])
}

// builder assembles a list of addresses. Adjacent words are decoded together.
type builder struct {
	out   strings.Builder
	word  []byte
	last  byte // last byte written
	space bool // seen, but not written
}

func (b *builder) flush(charset string) {
	if len(b.word) > 0 {
		b.write(Decode(string(b.word), charset))
		b.word = b.word[:0]
	}
}

func (b *builder) write(s string) {
	if s != "" {
		b.out.WriteString(s)
		b.last = s[len(s)-1]
	}
}

// blank writes the space before a word, unless it is within an address.
func (b *builder) blank() {
	b.space = false
	switch {
	case len(b.word) > 0:
		b.word = append(b.word, ' ')
	case b.last != 0 && !strings.ContainsRune(" @.<", rune(b.last)):
		b.write(" ")
	}
}

// mark writes a separator.
func (b *builder) mark(c byte, charset string) {
	if c == '.' && len(b.word) > 0 && !b.space { // "J.Doe", or the middle of an encoded word
		b.word = append(b.word, c)
		return
	}
	b.flush(charset)
	if c == '<' && b.last != 0 && b.last != ' ' {
		b.write(" ")
	}
	b.write(string(c))
	b.space = c == ',' || c == ';' || c == ':'
}

// quoted reads a quoted string and returns the position after it.
func (b *builder) quoted(v string, i int, charset string) int {
	if b.space {
		b.blank()
	}
	b.flush(charset)
	var text []byte
	for i++; i < len(v) && v[i] != '"'; i++ {
		if v[i] == '\\' && i+1 < len(v) {
			i++
		}
		text = append(text, v[i])
	}
	b.write(Decode(string(text), charset))
	return i + 1
}

// comment returns the position after a comment; comments nest.
func comment(v string, i int) int {
	depth := 0
	for ; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(v)
}
