package sasl

import "context"

// externalMech is EXTERNAL (RFC 4422, appendix A): the certificate identifies the client,
// the response names the user to act as.
type externalMech struct {
	user    string
	authzid string
}

func (m *externalMech) claim() (string, string) { return m.user, m.authzid }

func (m *externalMech) next(_ context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	m.authzid = string(response)
	return nil, true, nil
}
