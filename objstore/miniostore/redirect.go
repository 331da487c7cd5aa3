package miniostore

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxRedirectBody bounds the error body of a redirect, in bytes.
const maxRedirectBody = 64 << 10

// settled ends the upload of a body before it returns a redirect. http.Client closes the
// body of a redirected request while the transport may still read or close it, which
// minio-go's signing body does not allow.
type settled struct{ http.RoundTripper }

// RoundTrip sends the request.
func (s settled) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return s.RoundTripper.RoundTrip(r)
	}
	body := &closing{ReadCloser: r.Body, closed: make(chan struct{})}
	sent := r.WithContext(r.Context())
	sent.Body = body
	resp, err := s.RoundTripper.RoundTrip(sent)
	if err != nil || resp.StatusCode/100 != 3 {
		return resp, err
	}
	words, err := io.ReadAll(io.LimitReader(resp.Body, maxRedirectBody))
	// Closing the answer also ends an upload that is still running.
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(words))
	select {
	case <-body.closed:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// closing reports when the transport has closed a body.
type closing struct {
	io.ReadCloser
	once   sync.Once
	closed chan struct{}
}

// Close closes the body.
func (c *closing) Close() error {
	err := c.ReadCloser.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
