package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// The kinds of backup, the first element of a path.
const (
	KindUser   = "user"
	KindShared = "shared"
	KindServer = "server"
)

// Name names a backup: that of a user, of a shared top-level mailbox with all mailboxes
// below it, or of the server's own annotations.
type Name struct {
	Kind string
	// Full is the userid, the [domain!]top-level mailbox, or "annotations".
	Full string
}

// UserName returns the name of a user's backup.
func UserName(userid string) Name { return Name{KindUser, userid} }

// ServerName returns the name of the backup of the server's own annotations.
func ServerName() Name { return Name{KindServer, "annotations"} }

// Names maps mailboxes to backups.
type Names struct {
	DefaultDomain string // of names without a domain (option defaultdomain)
	DeletedPrefix string // of deleted mailboxes (option deletedprefix)
}

// Of returns the backup of the mailbox with this internal name. The empty name is the
// server itself.
func (n Names) Of(mailbox string) Name {
	if mailbox == "" {
		return ServerName()
	}
	userid, top := cyrus.Owner(mailbox, n.DefaultDomain, n.DeletedPrefix)
	if userid != "" {
		return UserName(userid)
	}
	return Name{KindShared, top}
}

// Path returns the path of the backup below backups/, <kind>/<enc> (docs/design.md 5).
func (n Name) Path() string { return n.Kind + "/" + encode(n.Full) }

// String returns the kind and the full name.
func (n Name) String() string { return n.Kind + " " + n.Full }

const (
	maxEncoded  = 180 // bytes; a longer name is truncated and its hash added
	keptEncoded = 120
)

// encode turns any name into a path element. Bytes outside A-Za-z0-9._@- and a leading
// dot become =XX. A name that is too long is truncated and gets its SHA-256 added.
func encode(name string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		plain := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' ||
			c == '_' || c == '@' || c == '-' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	enc := b.String()
	if len(enc) <= maxEncoded {
		return enc
	}
	sum := sha256.Sum256([]byte(name))
	return enc[:keptEncoded] + "=~" + hex.EncodeToString(sum[:])
}

// NameOf returns the name that has this path. It returns false if the path is invalid, or
// if the name in it is truncated.
func NameOf(path string) (Name, bool) {
	kind, enc, ok := strings.Cut(path, "/")
	if !ok || strings.Contains(enc, "=~") {
		return Name{}, false
	}
	full, err := decode(enc)
	n := Name{kind, full}
	switch kind {
	case KindUser, KindShared, KindServer:
		return n, err == nil && n.Path() == path
	}
	return Name{}, false
}

// decode is the inverse of encode for names that are not truncated.
func decode(enc string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(enc); i++ {
		if enc[i] != '=' {
			b.WriteByte(enc[i])
			continue
		}
		c, err := hex.DecodeString(enc[i+1 : min(i+3, len(enc))])
		if err != nil || len(c) != 1 {
			return "", errors.New("not an encoded name")
		}
		b.Write(c)
		i += 2
	}
	return b.String(), nil
}
