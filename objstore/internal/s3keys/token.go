package s3keys

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Expiry returns the end of a session token that is a JSON web token, as MinIO's are. Others do not
// state their end: zero.
func Expiry(token objstore.Secret) time.Time {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}
