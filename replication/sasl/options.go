package sasl

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Options is the policy of logins.
type Options struct {
	// Mechanisms limits what is offered (option sasl_mech_list); others than ours are
	// passed over. Empty: all that are possible.
	Mechanisms []string
	// AllowPlaintext offers PLAIN and LOGIN without encryption (allowplaintext).
	AllowPlaintext bool
	// TLSRequired offers nothing before the connection is encrypted (tls_required).
	TLSRequired bool
	// MinimumLayer is the least strength, in bits, that has to protect a connection
	// (sasl_minimum_layer).
	MinimumLayer int
	// Users turns names as clients write them into those that are compared.
	Users UserNames
	// LoginRealms are the realms that may stand in a user's name (loginrealms).
	LoginRealms []string
	// Admins are those who may use the server. The zero value: nobody.
	Admins Admins
	// Credentials are for the SCRAM mechanisms. nil: they are not offered.
	Credentials *Credentials
	// Passwords are asked, in order, by PLAIN and LOGIN. None: they are not offered.
	Passwords []PasswordChecker

	nonce func() string // for tests; nil: random
}

// PasswordChecker knows users' passwords. user is canonical. An error means that it
// cannot tell.
type PasswordChecker interface {
	CheckPassword(ctx context.Context, user, password string) (bool, error)
}

// Layer is what the caller knows about a connection.
type Layer struct {
	// TLS is active.
	TLS bool
	// SSF is the strength in bits of what protects the connection: TLS's cipher, or
	// what the service's option -p claims of an outer tunnel; 1 is integrity only.
	SSF int
	// NoPassword takes any password of a user that is known (the service's option -N).
	NoPassword bool
	// External is the user in the client's verified certificate, "" if there is none.
	External string
}

// Authenticator starts exchanges. It is safe for concurrent use.
type Authenticator struct {
	opt Options
}

// New checks the options. The error holds all faults.
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
