package sasl

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Options is the policy of logins.
type Options struct {
	// Mechanisms limits the offered mechanisms (option sasl_mech_list); unknown names are
	// ignored. Empty: all possible mechanisms.
	Mechanisms []string
	// AllowPlaintext offers PLAIN and LOGIN without encryption (allowplaintext).
	AllowPlaintext bool
	// TLSRequired: offer nothing until the connection is encrypted (tls_required).
	TLSRequired bool
	// MinimumLayer is the minimum strength, in bits, of a connection's protection
	// (sasl_minimum_layer).
	MinimumLayer int
	// Users converts user names from clients to canonical names.
	Users UserNames
	// LoginRealms are the realms allowed in a user's name (loginrealms).
	LoginRealms []string
	// Admins may use the server. The zero value: nobody.
	Admins Admins
	// Credentials are for the SCRAM mechanisms. nil: do not offer these.
	Credentials *Credentials
	// Passwords are asked, in order, by PLAIN and LOGIN. None: do not offer these.
	Passwords []PasswordChecker

	nonce func() string // for tests; nil: random
}

// PasswordChecker checks users' passwords. user is canonical. An error means that the
// password could not be checked.
type PasswordChecker interface {
	CheckPassword(ctx context.Context, user, password string) (bool, error)
}

// Layer describes the protection of a connection.
type Layer struct {
	// TLS is active.
	TLS bool
	// SSF is the strength in bits of the connection's protection: TLS's cipher, or an outer
	// tunnel's strength from the service's option -p. 1 is integrity only.
	SSF int
	// NoPassword accepts any password of a known user (the service's option -N).
	NoPassword bool
	// External is the user in the client's verified certificate, or "" without a
	// certificate.
	External string
}

// Authenticator starts exchanges. It is safe for concurrent use.
type Authenticator struct {
	opt Options
}

// New validates the options. The error lists all faults.
func New(opt Options) (*Authenticator, error) {
	var errs []error
	if opt.MinimumLayer < 0 {
		errs = append(errs, errors.New("sasl: minimum layer is negative"))
	}
	if slices.Contains(opt.Passwords, nil) {
		errs = append(errs, errors.New("sasl: a password checker is nil"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	opt.Mechanisms = slices.Clone(opt.Mechanisms)
	for i, m := range opt.Mechanisms {
		opt.Mechanisms[i] = strings.ToUpper(m)
	}
	return &Authenticator{opt: opt}, nil
}
