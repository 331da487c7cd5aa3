package restore

import (
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// InternalPath splits a mailbox's name into components as Cyrus stores them. The result is
// relative to the user's INBOX, whose own path is empty. Other mailboxes keep their full name.
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

// readable returns a component as people write it: with dots, and in UTF-8.
func readable(part string) string { return cyrus.FromUTF7(strings.ReplaceAll(part, "^", ".")) }
