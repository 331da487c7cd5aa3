package objstore

import (
	"fmt"
	"log/slog"
)

// Secret is a string that no format verb, log line or JSON encoder prints. string(s)
// returns it.
type Secret string

const redacted = "[redacted]"

// Format writes a placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redacted) }

// LogValue returns the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns the placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Credentials are a key pair given to a driver, which then does not search for keys.
type Credentials struct {
	AccessKey    string
	SecretKey    Secret
	SessionToken Secret // "" for a long-lived pair
}
