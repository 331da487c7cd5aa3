package history

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// hashingReader computes the SHA-256 of the bytes read through it.
type hashingReader struct {
	r   io.Reader
	sum hash.Hash
}

func newHashingReader(r io.Reader) *hashingReader { return &hashingReader{r, sha256.New()} }

func (h *hashingReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	return n, err
}

func (h *hashingReader) hex() string { return hex.EncodeToString(h.sum.Sum(nil)) }

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
