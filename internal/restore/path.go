package restore

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"

	"backupd/replication/cyrus"
)

// InternalPath is a mailbox's name below a user's INBOX (which has none itself), or as
// it is of a mailbox that is no user's; in components as Cyrus has them.
func InternalPath(name, defaultDomain, deletedPrefix string) []string {
	rest := name
	if i := strings.IndexByte(rest, '!'); i >= 0 {
		rest = rest[i+1:]
	}
	parts := strings.Split(rest, ".")
	if user, _ := cyrus.Owner(name, defaultDomain, deletedPrefix); user == "" || parts[0] != "user" {
		return parts
	}
	return parts[2:]
}

// Path is InternalPath in components as people write them.
func Path(name, defaultDomain, deletedPrefix string) []string {
	parts := InternalPath(name, defaultDomain, deletedPrefix)
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = readable(p)
	}
	return out
}

// readable is a component as people write it: with its dots, and in UTF-8. What
// is no modified UTF-7 stays as it is.
func readable(part string) string {
	part = strings.ReplaceAll(part, "^", ".")
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
