package s3keys

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// profiles are the sections of a file in the format of AWS's tools: lines "key = value"
// below "[name]".
type profiles map[string]map[string]string

const mostBytes = 1 << 20 // maximum size of a credentials file

// readProfiles reads a file. It ignores the word profile that AWS's config file puts before
// a name.
func readProfiles(path string) (profiles, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > mostBytes {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, mostBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseProfiles(b), nil
}

func parseProfiles(b []byte) profiles {
	all := profiles{}
	var section map[string]string
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ = strings.Cut(name, "]")
			name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "profile "))
			if section = all[name]; section == nil {
				section = map[string]string{}
				all[name] = section
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && section != nil && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			section[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return all
}

// names lists the profiles, for an error.
func (p profiles) names() string {
	var names []string
	for name := range p {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "no profile at all"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

const (
	accessKey    = "aws_access_key_id"
	secretKey    = "aws_secret_access_key"
	sessionToken = "aws_session_token"
)

// keysOf returns the keys in a section; missing lists the missing settings.
func keysOf(section map[string]string) (c objstore.Credentials, missing []string) {
	for _, key := range []string{accessKey, secretKey} {
		if section[key] == "" {
			missing = append(missing, key)
		}
	}
	return objstore.Credentials{AccessKey: section[accessKey], SecretKey: objstore.Secret(section[secretKey]),
		SessionToken: objstore.Secret(section[sessionToken])}, missing
}

// indirect are settings with which AWS's own chain gets keys from another source.
var indirect = [...]string{"role_arn", "credential_process", "web_identity_token_file", "sso_session", "sso_start_url", "credential_source", "login_session"}

func indirectIn(section map[string]string) string {
	for _, key := range indirect {
		if section[key] != "" {
			return key
		}
	}
	return ""
}
