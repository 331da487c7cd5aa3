package sasl

import "errors"

// Errors that end an exchange. Next and Start wrap them with details for the log; the
// client gets ClientText.
var (
	// ErrMechanism: the mechanism is unknown or not offered on this connection.
	ErrMechanism = errors.New("no mechanism available")
	// ErrProtocol: a response that the mechanism does not allow.
	ErrProtocol = errors.New("bad protocol / cancel")
	// ErrBinding: the client requires channel binding, which no mechanism here offers.
	ErrBinding = errors.New("channel binding failure")
	// ErrFailed: unknown user, wrong password, or a user that may not log in this way.
	ErrFailed = errors.New("authentication failure")
	// ErrUnavailable: passwords cannot be checked at the moment.
	ErrUnavailable = errors.New("remote authentication server unavailable")
)

// ClientText is the part of err that the client may know, in libsasl's words (lib/common.c:
// sasl_errstring). It never reveals whether a user exists.
func ClientText(err error) string {
	for _, known := range []error{ErrMechanism, ErrProtocol, ErrBinding, ErrFailed, ErrUnavailable} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "generic failure"
}
