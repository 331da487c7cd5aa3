package s3keys

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
)

// FuzzProfiles parses a file of credentials, and the session token in it.
func FuzzProfiles(f *testing.F) {
	f.Add([]byte("# keys\n[default]\naws_access_key_id = one\naws_secret_access_key = one/secret+=\n[profile two]\naws_session_token = a.eyJleHAiOjE3MDAwMDAwMDB9.c\n"))
	f.Add([]byte("x = y\n[a\n= \n[]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, 256<<10+512*int64(len(b)), func() {
			all := parseProfiles(b)
			for name, section := range all {
				if strings.TrimSpace(name) != name {
					t.Errorf("a profile %q", name)
				}
				keys, missing := keysOf(section)
				if (keys.AccessKey == "" || keys.SecretKey == "") != (len(missing) > 0) {
					t.Errorf("%q: missing are %q", name, missing)
				}
				indirectIn(section)
				Expiry(objstore.Secret(section[sessionToken]))
			}
			if text := all.names(); strings.Contains(text, "secret+=") && len(all) == 0 {
				t.Errorf("%q", text)
			}
		})
	})
}
