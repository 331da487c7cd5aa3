package mailtext

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
)

// encodedWord is =?charset*language?encoding?text?= (RFC 2047, RFC 2231). Some programs leave spaces
// in the text.
var encodedWord = regexp.MustCompile(`=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=`)

// Decode decodes the encoded words of a field; malformed ones stay unchanged. Adjacent words in one
// charset are joined first, because some programs split characters. charset is for undeclared bytes,
// if it is known.
func Decode(v, charset string) string {
	var out strings.Builder
	plain := func(s string) { out.WriteString(Unlabelled(s, charset)) }
	at := 0
	list := encodedWord.FindAllStringSubmatchIndex(v, -1)
	for i := 0; i < len(list); {
		m := list[i]
		name := v[m[2]:m[3]]
		raw, ok := wordBytes(v, m)
		if between := v[at:m[0]]; at == 0 || strings.TrimSpace(between) != "" {
			plain(between)
		}
		end := m[1]
		for i++; ok && i < len(list) && strings.EqualFold(name, v[list[i][2]:list[i][3]]) && strings.TrimSpace(v[end:list[i][0]]) == ""; i++ {
			more, good := wordBytes(v, list[i])
			if !good {
				break
			}
			raw, end = append(raw, more...), list[i][1]
		}
		text, known := "", false
		if ok {
			text, known = convert(string(raw), name)
		}
		if !known {
			text = Unlabelled(v[m[0]:end], charset)
		}
		out.WriteString(text)
		at = end
	}
	plain(v[at:])
	return out.String()
}

// wordBytes returns the bytes of an encoded word.
func wordBytes(v string, m []int) ([]byte, bool) {
	text := v[m[6]:m[7]]
	if c := v[m[4]]; c == 'b' || c == 'B' {
		text = strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
		raw, err := base64.RawStdEncoding.DecodeString(text)
		return raw, err == nil
	}
	return quoted(text), true
}

func quoted(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '_':
			out = append(out, ' ')
		case text[i] == '=' && i+2 < len(text):
			if b, err := hex.DecodeString(text[i+1 : i+3]); err == nil {
				out = append(out, b[0])
				i += 2
				continue
			}
			out = append(out, '=')
		default:
			out = append(out, text[i])
		}
	}
	return out
}
