// Package filename names files after mailboxes.
//
// The mapping is injective: two mailboxes never get the same name, and no name leaves its
// directory. docs/restore.md ("File names") describes it. testdata/names.json has examples,
// which also test docs/bucket-restore.py.
package filename

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

const (
	longest        = 180 // bytes of a component; ext4, XFS and others take 255
	longestMaildir = 200 // bytes of a Maildir++ folder name, which has all levels in one component
	cutTo          = 160 // bytes kept of a longer name, before the hash
	hashDigits     = 16
)

// Names of files that restore creates; no mailbox can have one.
const (
	Messages = "messages.ndjson" // uids, flags and dates of a directory's messages
	Folders  = "folders.ndjson"  // the mailboxes' original names
	Account  = "account.json"    // account data that belongs to no mailbox
	Keywords = "keywords.ndjson" // keywords beyond the letters of a Maildir
	Scripts  = "sieve"           // a directory
)

// suffixes are the endings that no mailbox name can have.
func suffixes() []string { return []string{".mbox", ".eml", ".partial", ".ndjson", ".json"} }

// Inbox is the component of the INBOX in a tree.
const Inbox = "INBOX"

// Path returns the name of a mailbox in a tree of directories, a component per level. internal
// is its path below the INBOX as Cyrus stores it: modified UTF-7, with ^ for a dot.
func Path(internal []string) []string {
	if len(internal) == 0 {
		return []string{Inbox}
	}
	out := make([]string, len(internal))
	for i, p := range internal {
		out[i] = component(p)
	}
	out[0] = notInbox(out[0])
	return out
}

// notInbox escapes a first level called INBOX in any case, because a tree uses that name for
// the INBOX itself, and Dovecot does not show a Maildir++ folder of that name.
func notInbox(name string) string {
	if strings.EqualFold(name, Inbox) {
		return escape(name[:1]) + name[1:]
	}
	return name
}

// Maildir returns the name of a mailbox in a Maildir++, with all levels in one component. The
// INBOX is the Maildir itself and has no name.
func Maildir(internal []string) string {
	if len(internal) == 0 {
		return ""
	}
	var b strings.Builder
	for i, part := range internal {
		name := maildirPart(part)
		if i == 0 {
			name = notInbox(name)
		}
		b.WriteString("." + name)
	}
	return shorten(b.String(), strings.Join(internal, "."), longestMaildir)
}

// maildirPart keeps modified UTF-7, which Maildir++ requires.
func maildirPart(part string) string {
	if part == "" {
		return nothing
	}
	var b strings.Builder
	for i := range len(part) {
		if c := part[i]; c < ' ' || c >= 0x7f || c == '%' || c == '/' || c == '\\' {
			b.WriteString(escape(part[i : i+1]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// nothing replaces an empty component.
const nothing = "%_"

// improper marks a component that is not in modified UTF-7 as Cyrus writes it. Such a component
// is used undecoded, because decoding could give another mailbox's name.
const improper = "%="

// component returns a level of a mailbox's name as people write it.
func component(internal string) string {
	text := strings.ReplaceAll(internal, "^", ".")
	plain := cyrus.FromUTF7(text)
	name := reserve(escaped(plain))
	if cyrus.UTF7(plain) != text {
		name = improper + reserve(escaped(text))
	}
	return shorten(name, internal, longest)
}

// Component turns any text into one component of a path.
func Component(text string) string {
	return shorten(reserve(escaped(text)), text, longest)
}

func escaped(text string) string {
	if text == "" {
		return nothing
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 || unsafe(r) || i == 0 && r == '.' {
			b.WriteString(escape(text[i : i+n]))
		} else {
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return b.String()
}

// unsafe reports whether a character ends a component, escapes, or is invisible on a terminal.
func unsafe(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f, r == '%', r == '/', r == '\\':
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff:
		return true
	}
	return false
}

// reserve escapes a character of a name that restore uses for its own files.
func reserve(name string) string {
	if strings.EqualFold(name, Scripts) {
		return escape(name[:1]) + name[1:]
	}
	for _, s := range suffixes() {
		if n := len(name) - len(s); n >= 0 && strings.EqualFold(name[n:], s) {
			return name[:n] + escape(".") + name[n+1:]
		}
	}
	return name
}

// shorten cuts a name that is too long and adds a hash of the original to keep it unique.
func shorten(name, original string, most int) string {
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(original))
	return name[:boundary(name)] + "%-" + hex.EncodeToString(sum[:])[:hashDigits]
}

// boundary returns where a long name can be cut without splitting a character or an escape.
func boundary(name string) int {
	n := cutTo
	for !utf8.RuneStart(name[n]) {
		n--
	}
	if i := strings.LastIndexByte(name[:n], '%'); i >= 0 && n-i < len("%XX") {
		n = i
	}
	return n
}

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
