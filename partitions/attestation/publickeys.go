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

// PublicKeys are the keys whose signatures are accepted: that of today, and former ones. They must not come from the
// bucket.
type PublicKeys []minisign.PublicKey

// ParsePublicKey parses a public key of minisign, with or without the line of its comment.
func ParsePublicKey(text string) (minisign.PublicKey, error) {
	var k minisign.PublicKey
	if err := k.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return k, errors.New("this is not a public key of minisign(1), which has 56 characters and begins with RW")
	}
	return k, nil
}

// Has reports whether a key is accepted.
func (k PublicKeys) Has(key minisign.PublicKey) bool {
	for _, one := range k {
		if one.Equal(key) {
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
	return c, nil
}

// keyOf returns the key that a signature names.
func (k PublicKeys) keyOf(signature []byte) (minisign.PublicKey, *minisign.Signature, error) {
	s := new(minisign.Signature)
	if err := s.UnmarshalText(signature); err != nil {
		return minisign.PublicKey{}, nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if s.Algorithm != minisign.HashEdDSA {
		return minisign.PublicKey{}, nil, fmt.Errorf("%w: it is not prehashed", ErrSignature)
	}
	for _, key := range k {
		if key.ID() == s.KeyID {
			return key, s, nil
		}
	}
	return minisign.PublicKey{}, nil, fmt.Errorf("%w: it is by the key %s, which is not trusted", ErrSignature, keyName(s.KeyID))
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
