package attestation

import (
	"fmt"
	"strconv"
	"strings"
)

// Prefix is the prefix of the objects of this package.
const Prefix = "attestations/"

const (
	signatureSuffix = ".minisig"
	listSuffix      = ".ndjson.zst"
	digits          = 16
	maxNumber       = 9_999_999_999_999_999
)

// SignatureKey is the key of the signature of list n. Whoever puts it first has made list n.
func SignatureKey(n uint64) string {
	return fmt.Sprintf("%s%0*d%s", Prefix, digits, n, signatureSuffix)
}

// ListKey is the key of list n, whose bytes have this SHA-256.
func ListKey(n uint64, sum string) string {
	return fmt.Sprintf("%s%0*d-%s%s", Prefix, digits, n, sum, listSuffix)
}

// parseKey returns the number in a key, and the hash in that of a list; "" = it is that of a signature.
func parseKey(key string) (n uint64, sum string, ok bool) {
	name, found := strings.CutPrefix(key, Prefix)
	if !found || len(name) < digits {
		return 0, "", false
	}
	n, err := strconv.ParseUint(name[:digits], 10, 64)
	if err != nil || n == 0 {
		return 0, "", false
	}
	if key == SignatureKey(n) {
		return n, "", true
	}
	sum, found = strings.CutSuffix(name[digits:], listSuffix)
	if sum, ok = strings.CutPrefix(sum, "-"); !found || !ok || !isHash(sum) {
		return 0, "", false
	}
	return n, sum, key == ListKey(n, sum)
}

// isHash reports whether s is a SHA-256 in lower-case hexadecimal.
func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
