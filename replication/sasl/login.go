package sasl

import (
	"context"
	"fmt"
)

// loginMech is LOGIN: two questions. An initial response is the user's name
// (cyrus-sasl, plugins/login.c: login_server_mech_step).
type loginMech struct {
	auth    *Authenticator
	layer   Layer
	authcid string
	asked   bool
}

func (m *loginMech) claim() (string, string) { return m.authcid, "" }

func (m *loginMech) next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case m.authcid != "":
		if err := m.auth.checkPassword(ctx, m.layer, m.authcid, string(response)); err != nil {
			return nil, false, err
		}
		return nil, true, nil
	case len(response) > 0:
		m.authcid = string(response)
		return []byte("Password:"), false, nil
	case m.asked:
		return nil, false, fmt.Errorf("no user name: %w", ErrProtocol)
	default:
		m.asked = true
		return []byte("Username:"), false, nil
	}
}
