package cyrus

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

// UTF7 encodes a mailbox name in modified UTF-7 (RFC 3501, 5.1.3).
func UTF7(s string) string {
	enc := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	var sb strings.Builder
	var run []byte // UTF-16, big endian
	flush := func() {
		if len(run) > 0 {
			sb.WriteString("&" + enc.EncodeToString(run) + "-")
			run = run[:0]
		}
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			for _, u := range utf16.Encode([]rune{r}) {
				run = append(run, byte(u>>8), byte(u))
			}
			continue
		}
		flush()
		sb.WriteRune(r)
		if r == '&' {
			sb.WriteByte('-')
		}
	}
	flush()
	return sb.String()
}

// FromUTF7 decodes a name in modified UTF-7. Other names are returned unchanged.
func FromUTF7(part string) string {
	var out strings.Builder
	for part != "" {
		i := strings.IndexByte(part, '&')
		if i < 0 {
			break
		}
		out.WriteString(part[:i])
		part = part[i:]
		end := strings.IndexByte(part, '-')
		if end < 0 {
			break
		}
		if end == 1 {
			out.WriteByte('&')
		} else {
			b, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(part[1:end], ",", "/"))
			if err != nil || len(b)%2 != 0 {
				out.WriteString(part[:end+1])
			} else {
				u := make([]uint16, len(b)/2)
				for j := range u {
					u[j] = uint16(b[2*j])<<8 | uint16(b[2*j+1])
				}
				out.WriteString(string(utf16.Decode(u)))
			}
		}
		part = part[end+1:]
	}
	out.WriteString(part)
	return out.String()
}
