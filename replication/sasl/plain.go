package sasl

import (
	"bytes"
	"context"
	"fmt"
)

// plainMech is PLAIN (RFC 4616): authzid NUL authcid NUL password.
type plainMech struct {
	auth    *Authenticator
	layer   Layer
	authcid string
	authzid string
}

func (m *plainMech) claim() (string, string) { return m.authcid, m.authzid }

func (m *plainMech) next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 {
		return nil, false, fmt.Errorf("not authzid, authcid and password: %w", ErrProtocol)
	}
	m.authzid, m.authcid = string(parts[0]), string(parts[1])
	if err := m.auth.checkPassword(ctx, m.layer, m.authcid, string(parts[2])); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
