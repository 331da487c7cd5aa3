package miniotest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Skewed is an HTTP proxy whose answers state a time that differs from the server's.
type Skewed struct {
	Server              // the same, with the proxy's Endpoint
	By     atomic.Int64 // time.Duration added to the Date of each answer
}

// NewSkewed starts a proxy before s; it ends with the test.
func (s *Server) NewSkewed(tb testing.TB) *Skewed {
	tb.Helper()
	k := &Skewed{Server: *s}
	send := &doubling{target: s.URL(), client: s.transport()}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		resp, err := send.send(r, body)
		if err != nil {
			panic(http.ErrAbortHandler) // the client sees a lost connection
		}
		k.skew(resp.Header)
		pass(w, resp)
	}))
	tb.Cleanup(srv.Close)
	k.Endpoint, k.CAFile = srv.Listener.Addr().String(), ""
	return k
}

func (k *Skewed) skew(h http.Header) {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	h.Set("Date", at.Add(time.Duration(k.By.Load())).UTC().Format(http.TimeFormat))
}
