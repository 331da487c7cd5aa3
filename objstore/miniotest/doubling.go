package miniotest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// NewDoubling starts an HTTP proxy before s that sends the requests selected by match
// twice, one after the other, and returns the answer to the second, like a load balancer
// that repeats a request it believes lost. It ends with the test.
func (s *Server) NewDoubling(tb testing.TB, match func(*http.Request) bool) *Server {
	tb.Helper()
	d := &doubling{target: s.URL(), match: match, client: s.transport()}
	srv := httptest.NewServer(d)
	tb.Cleanup(srv.Close)
	out := *s
	out.Endpoint, out.CAFile = srv.Listener.Addr().String(), ""
	return &out
}

type doubling struct {
	target string
	match  func(*http.Request) bool
	client http.RoundTripper
}

func (d *doubling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	resp, err := d.send(r, body)
	if err == nil && d.match(r) {
		if err = resp.Body.Close(); err == nil {
			resp, err = d.send(r, body) //nolint:bodyclose // pass closes it
		}
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client sees a lost connection
	}
	pass(w, resp)
}

// pass sends an answer of the server to the client.
func pass(w http.ResponseWriter, resp *http.Response) {
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // an answer that breaks off here also breaks off at the client
}

// send forwards a request unchanged: the signature covers its headers and its host.
func (d *doubling) send(r *http.Request, body []byte) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, d.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Host, out.Header, out.ContentLength = r.Host, r.Header.Clone(), int64(len(body))
	return d.client.RoundTrip(out)
}
