package sasl

import (
	"bytes"
	"context"
	"fmt"

	"github.com/xdg-go/scram"
)

// scramMech is SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel
// binding: sync_client never uses it (docs/client-behaviour.md). The first byte of a client
// is n (no channel binding) or y (the client supports it, and has seen that this server
// does not). p requires it, and is refused.
type scramMech struct {
	conv   *scram.ServerConversation
	lookup error // why credentials could not be read
	begun  bool
}

func newScram(a *Authenticator, name string) (*scramMech, error) {
	m := new(scramMech)
	hash := scram.SHA256
	if name == ScramSHA1 {
		hash = scram.SHA1
	}
	server, err := hash.NewServer(func(user string) (scram.StoredCredentials, error) {
		if canonical, err := a.opt.Users.Canonical(user); err == nil {
			user = canonical
		}
		found, err := a.opt.Credentials.scram(name, user)
		m.lookup = err
		return found, err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrMechanism)
	}
	if a.opt.nonce != nil {
		server = server.WithNonceGenerator(a.opt.nonce)
	}
	m.conv = server.NewConversation()
	return m, nil
}

func (m *scramMech) claim() (string, string) { return m.conv.Username(), m.conv.AuthzID() }

func (m *scramMech) next(_ context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case !m.begun && response == nil:
		return []byte{}, false, nil
	case !m.begun:
		m.begun = true
		if kind, found := bytes.CutPrefix(response, []byte("p=")); found {
			kind, _, _ = bytes.Cut(kind, []byte(","))
			return nil, false, fmt.Errorf("first message: it requires channel binding (%.40q): %w", kind, ErrBinding)
		}
		challenge, err := m.conv.Step(string(response))
		if m.lookup != nil {
			return nil, false, fmt.Errorf("user %q: %w: %w", m.conv.Username(), m.lookup, ErrUnavailable)
		}
		if err != nil {
			return nil, false, fmt.Errorf("first message: %w: %w", err, ErrProtocol)
		}
		return []byte(challenge), false, nil
	case !m.conv.Done():
		challenge, err := m.conv.Step(string(response))
		if err != nil {
			return nil, false, fmt.Errorf("user %q: %w: %w", m.conv.Username(), err, ErrFailed)
		}
		return []byte(challenge), false, nil
	case len(response) > 0:
		return nil, false, fmt.Errorf("answer to the final message is not empty: %w", ErrProtocol)
	case !m.conv.Valid():
		return nil, false, fmt.Errorf("user %q: no valid proof: %w", m.conv.Username(), ErrFailed)
	default:
		return nil, true, nil
	}
}
