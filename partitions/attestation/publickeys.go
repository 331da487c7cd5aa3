package attestation

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"aead.dev/minisign"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// PublicKey is a key whose signatures are accepted.
type PublicKey struct {
	minisign.PublicKey
	// Last is the last list that a former key has signed; 0 = the key is in use. So a former key that has become known signs
	// no new list.
	Last uint64
}

// PublicKeys are that of today, and former ones. They must not come from the bucket.
type PublicKeys []PublicKey

// ParsePublicKey parses a public key of minisign, with or without the line of its comment. After a colon, it may have the
// number of the last list that it has signed.
func ParsePublicKey(text string) (PublicKey, error) {
	var k PublicKey
	text, last, former := strings.Cut(strings.TrimSpace(text), ":")
	if former {
		n, err := strconv.ParseUint(last, 10, 64)
		if err != nil || n == 0 || n > maxNumber {
			return k, fmt.Errorf("%q is not the number of a list: a former key is KEY:NUMBER, with the last list that it has signed", last)
		}
		k.Last = n
	}
	if err := k.UnmarshalText([]byte(text)); err != nil {
		return k, errors.New("this is not a public key of minisign(1), which has 56 characters and begins with RW")
	}
	return k, nil
}

// Signs reports whether a key may sign new lists.
func (k PublicKeys) Signs(key minisign.PublicKey) bool {
	for _, one := range k {
		if one.Last == 0 && one.Equal(key) {
			return true
		}
	}
	return false
}

// ErrSignature reports that a signature is not by one of the keys, or not of these bytes.
var ErrSignature = errors.New("no valid signature")

// keyName is the name that minisign prints for a key.
func keyName(id uint64) string { return strings.ToUpper(strconv.FormatUint(id, 16)) }

// comment returns the trusted comment of a signature, after it has verified the signature of the comment. The bytes of
// the list are not verified yet.
func (k PublicKeys) comment(signature []byte) (Comment, error) {
	key, s, err := k.keyOf(signature)
	if err != nil {
		return Comment{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(key.String()) // algorithm, id, key
	if err != nil || len(raw) < ed25519.PublicKeySize {
		return Comment{}, fmt.Errorf("%w: a key without bytes", ErrSignature)
	}
	public := ed25519.PublicKey(raw[len(raw)-ed25519.PublicKeySize:])
	signed := append(s.Signature[:], s.TrustedComment...)
	if !ed25519.Verify(public, signed, s.CommentSignature[:]) {
		return Comment{}, fmt.Errorf("%w: its comment was changed", ErrSignature)
	}
	c, err := ParseComment(s.TrustedComment)
	if errors.Is(err, repository.ErrVersion) {
		return Comment{}, err // it is genuine
	}
	if err != nil {
		return Comment{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if key.Last > 0 && c.List.Number > key.Last {
		return Comment{}, fmt.Errorf("%w: the key %s signs no list after %d (backup_seal_public_keys)", ErrSignature, keyName(s.KeyID), key.Last)
	}
	return c, nil
}

// keyOf returns the key that a signature names.
func (k PublicKeys) keyOf(signature []byte) (PublicKey, *minisign.Signature, error) {
	s := new(minisign.Signature)
	if err := s.UnmarshalText(signature); err != nil {
		return PublicKey{}, nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if s.Algorithm != minisign.HashEdDSA {
		return PublicKey{}, nil, fmt.Errorf("%w: it is not prehashed", ErrSignature)
	}
	for _, key := range k {
		if key.ID() == s.KeyID {
			return key, s, nil
		}
	}
	return PublicKey{}, nil, unknownKeyError{s.KeyID}
}

// Describe returns the comment of a signature without verifying anything, to find the file of its list.
func Describe(signature []byte) (Comment, error) {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return Comment{}, err
	}
	return ParseComment(s.TrustedComment)
}

// LogAttrs returns a list as pairs for a log: all that is needed to write its signature to a file again.
func LogAttrs(r *Result) []any {
	out := []any{"list", r.Number, "time", r.Time, "sha256", r.SHA256}
	var s minisign.Signature
	if s.UnmarshalText(r.Signature) != nil {
		return out
	}
	lines := strings.Split(strings.TrimSpace(string(r.Signature)), "\n")
	return append(out, "signature", lines[1], "comment", s.TrustedComment, "comment_signature", lines[3])
}
