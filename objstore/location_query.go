package objstore

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var errSecret = errors.New("location must not contain credentials: they come from the environment " +
	"(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), a profile of the shared credentials file, or the host's role")

var (
	secretKey = regexp.MustCompile(`(?i)secret|token|passw|credential|access|key|sign|auth|user`)
	plainKey  = regexp.MustCompile(`^[a-z_]{1,24}$`)
)

// parseQuery decodes a query with each allowed key at most once. An unknown key is an error
// that lists the allowed ones.
func parseQuery(query string, allowed ...string) (map[string]string, error) {
	q := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		value, err2 := url.QueryUnescape(rawValue)
		switch {
		case err != nil || err2 != nil:
			return nil, errors.New("location: bad %-escape in the query")
		case !slices.Contains(allowed, key) && secretKey.MatchString(key):
			return nil, errSecret
		case !slices.Contains(allowed, key):
			return nil, fmt.Errorf("location: unknown %s; allowed are %s", nameOf(key), strings.Join(allowed, ", "))
		}
		if _, twice := q[key]; twice {
			return nil, fmt.Errorf("location: %s is given twice", key)
		}
		q[key] = value
	}
	return q, nil
}

// nameOf quotes a key that looks like a word. Anything else may be a misplaced secret.
func nameOf(key string) string {
	if plainKey.MatchString(key) {
		return "query key " + key
	}
	return "a query key"
}
