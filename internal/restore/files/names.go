package files

import (
	"fmt"
	"strings"
)

// fileName makes a component that a file system takes, and that stays below its parent.
func fileName(part string) string {
	part = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, part)
	part = strings.ReplaceAll(part, "/", "%2F")
	if part == "" || part[0] == '.' {
		part = "%2E" + strings.TrimPrefix(part, ".")
	}
	const most = 200
	if len(part) > most {
		part = strings.ToValidUTF8(part[:most], "")
	}
	return part
}

// directory is the path of a mailbox's files in a tree.
func directory(parts []string) string {
	if len(parts) == 0 {
		return "INBOX"
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = fileName(p)
	}
	// INBOX is the mailbox above this one, whatever the case on some file systems.
	if first := out[0]; strings.EqualFold(first, "INBOX") {
		out[0] = fmt.Sprintf("%%%02X%s", first[0], first[1:])
	}
	return strings.Join(out, "/")
}
