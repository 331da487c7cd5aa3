package sasl

import (
	"fmt"
	"slices"
	"strings"
)

// The mechanisms, by their registered names.
const (
	External    = "EXTERNAL"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA1   = "SCRAM-SHA-1"
	Plain       = "PLAIN"
	Login       = "LOGIN"
)

// Mechanisms returns the mechanisms of this package in the order of the banner: strongest first.
func Mechanisms() []string { return []string{External, ScramSHA256, ScramSHA1, Plain, Login} }

// Mechanisms returns the mechanisms that a client may use on such a connection. It must not
// list a mechanism that would be refused, because a client that finds no usable mechanism
// tries STARTTLS (imap/backend.c: backend_authenticate).
func (a *Authenticator) Mechanisms(l Layer) []string {
	var offered []string
	for _, name := range Mechanisms() {
		if a.offers(name, l) {
			offered = append(offered, name)
		}
	}
	return offered
}

func (a *Authenticator) offers(name string, l Layer) bool {
	if len(a.opt.Mechanisms) > 0 && !slices.Contains(a.opt.Mechanisms, name) {
		return false
	}
	// Strength 1 is integrity without encryption.
	encrypted := l.strength() > 1
	if l.strength() < a.opt.MinimumLayer || a.opt.TLSRequired && !encrypted {
		return false
	}
	switch name {
	case External:
		return l.External != ""
	case ScramSHA1, ScramSHA256:
		return a.opt.Credentials.Exists()
	case Plain, Login:
		return (encrypted || a.opt.AllowPlaintext) && (l.NoPassword || a.canCheckPasswords())
	default:
		return false
	}
}

// strength counts TLS as 128 bits if SSF is not set: Go enables no weaker cipher.
func (l Layer) strength() int {
	if l.TLS && l.SSF <= 1 {
		return 128
	}
	return l.SSF
}

func (a *Authenticator) canCheckPasswords() bool {
	for _, p := range a.opt.Passwords {
		if c, ok := p.(*Credentials); !ok || c.Exists() {
			return true
		}
	}
	return false
}

// Start begins an exchange with the mechanism; its name is case-insensitive.
func (a *Authenticator) Start(name string, l Layer) (*Exchange, error) {
	name = strings.ToUpper(name)
	if !a.offers(name, l) {
		return nil, fmt.Errorf("%q: %w", name, ErrMechanism)
	}
	x := &Exchange{auth: a, name: name}
	switch name {
	case External:
		x.mech = &externalMech{user: l.External}
	case ScramSHA1, ScramSHA256:
		m, err := newScram(a, name)
		if err != nil {
			return nil, err
		}
		x.mech = m
	case Plain:
		x.mech = &plainMech{auth: a, layer: l}
	case Login:
		x.mech = &loginMech{auth: a, layer: l}
	}
	return x, nil
}
