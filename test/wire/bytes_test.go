package wire_test

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

func sha1Hex(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func itoa(n int) string { return strconv.Itoa(n) }
