package sasl

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxResponse limits a client's response. libsasl's own limit is 2048 (plugins/scram.c),
// and no real password needs the rest.
const maxResponse = 8192

// Exchange is one login attempt. It is used by one goroutine.
type Exchange struct {
	auth     *Authenticator
	name     string
	mech     mechanism
	ended    bool
	identity Identity
}

// Identity identifies a client after a login.
type Identity struct {
	Authenticated string // the owner of the password
	User          string // the user that the client acts as
	Admin         bool   // whether User may use the server
	Mechanism     string
}

// mechanism is the part of an exchange that differs between mechanisms. claim returns the
// names that the client claims, as far as they are known.
type mechanism interface {
	next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	claim() (authcid, authzid string)
}

// Next takes the client's decoded response and returns the next challenge, or done. The
// first call passes the initial response: nil if the client sent none, empty but not nil if
// it sent an empty one. After an error or done the exchange is over. An error matches one
// of this package's errors.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if x.ended {
		return nil, false, fmt.Errorf("%s: exchange is over: %w", x.name, ErrProtocol)
	}
	if len(response) > maxResponse {
		x.ended = true
		return nil, false, fmt.Errorf("%s: response of %d bytes: %w", x.name, len(response), ErrProtocol)
	}
	challenge, done, err = x.mech.next(ctx, response)
	if err == nil && done {
		x.identity, err = x.auth.authorise(x.mech.claim())
		x.identity.Mechanism = x.name
	}
	if err != nil {
		x.ended, x.identity = true, Identity{}
		return nil, false, fmt.Errorf("%s: %w", x.name, err)
	}
	x.ended = done
	return challenge, done, nil
}

// Identity returns the result after Next returned done.
func (x *Exchange) Identity() Identity { return x.identity }

// Mechanism returns the mechanism's name.
func (x *Exchange) Mechanism() string { return x.name }

// Claimed returns the user that the client claims to be, for the log of a failure. It is
// unverified and may contain anything.
func (x *Exchange) Claimed() string {
	authcid, _ := x.mech.claim()
	return authcid
}

// Allows reports whether a client that has proved to be user, under any form of this name, may use the server. It
// returns the canonical name. The error gives the reason why not; it matches ErrFailed or ErrUnavailable.
func (a *Authenticator) Allows(user string) (canonical string, err error) {
	id, err := a.authorise(user, "")
	if err == nil && !id.Admin {
		err = fmt.Errorf("%q is not an admin: %w", id.User, ErrFailed)
	}
	return id.User, err
}

// authorise decides the identity of a client that proved to be authcid and asks to act as
// authzid (imap/global.c: mysasl_proxy_policy).
func (a *Authenticator) authorise(authcid, authzid string) (Identity, error) {
	user, err := a.opt.Users.Canonical(authcid)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", err, ErrFailed)
	}
	if err := a.checkRealm(user); err != nil {
		return Identity{}, err
	}
	admin, err := a.opt.Admins.Contains(user)
	if err != nil {
		return Identity{}, fmt.Errorf("look up groups of %q: %w: %w", user, err, ErrUnavailable)
	}
	id := Identity{Authenticated: user, User: user, Admin: admin}
	if authzid == "" {
		return id, nil
	}
	if id.User, err = a.opt.Users.Canonical(authzid); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", err, ErrFailed)
	}
	if id.User == user {
		return id, nil
	}
	if !admin {
		return Identity{}, fmt.Errorf("user %q may not act as %q: %w", user, id.User, ErrFailed)
	}
	// Acting as someone else drops the admin's rights, even as another admin.
	id.Admin = false
	return id, nil
}

// checkRealm: a realm in a user's name must be a virtual domain or be listed.
func (a *Authenticator) checkRealm(user string) error {
	_, realm, found := strings.Cut(user, "@")
	if !found || a.opt.Users.Domains && len(a.opt.LoginRealms) == 0 {
		return nil
	}
	if slices.ContainsFunc(a.opt.LoginRealms, func(r string) bool { return strings.EqualFold(r, realm) }) {
		return nil
	}
	return fmt.Errorf("cross-realm login of %q: %w", user, ErrFailed)
}

// checkPassword asks each checker until one accepts the password.
func (a *Authenticator) checkPassword(ctx context.Context, l Layer, name, password string) error {
	user, err := a.opt.Users.Canonical(name)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrFailed)
	}
	if l.NoPassword {
		return a.knows(user)
	}
	if password == "" {
		return fmt.Errorf("user %q: empty password: %w", user, ErrFailed)
	}
	var unsure error
	for _, p := range a.opt.Passwords {
		ok, err := p.CheckPassword(ctx, user, password)
		if err == nil && ok {
			return nil
		}
		if err != nil {
			unsure = err
		}
	}
	if unsure != nil {
		return fmt.Errorf("user %q: check password: %w: %w", user, unsure, ErrUnavailable)
	}
	return fmt.Errorf("user %q: wrong password or unknown user: %w", user, ErrFailed)
}

// knows returns nil for an admin or a user with credentials.
func (a *Authenticator) knows(user string) error {
	if admin, err := a.opt.Admins.Contains(user); err == nil && admin {
		return nil
	}
	if has, err := a.opt.Credentials.Has(user); err == nil && has {
		return nil
	}
	return fmt.Errorf("user %q is unknown: %w", user, ErrFailed)
}
