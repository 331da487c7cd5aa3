package okholds

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/miniotest"
)

// proxy acts as a faulty load balancer between the programs and MinIO.
type proxy struct {
	server  *miniotest.Server
	twice   atomic.Int64 // number of conditional puts of the probe to send twice; the second answer is returned
	skew    atomic.Int64 // seconds by which the store's clock is ahead
	doubled atomic.Int64
}

// newProxiedSite creates a site with MinIO behind a proxy.
func newProxiedSite(t *testing.T) (*site, *proxy) {
	t.Helper()
	p := &proxy{server: miniotest.Start(t)}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	s := newSite(t, "minio")
	conf := strings.Replace(string(s.read("imapd.conf")), p.server.Endpoint, strings.TrimPrefix(front.URL, "http://"), 1)
	s.write("imapd.conf", conf)
	s.own()
	return s, p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	resp, answer, err := p.forward(r, body) //nolint:bodyclose // forward has closed it
	if err == nil && r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "" && strings.Contains(r.URL.Path, "/probe/") && p.twice.Add(-1) >= 0 {
		p.doubled.Add(1)
		resp, answer, err = p.forward(r, body) //nolint:bodyclose // forward has closed it
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	if skew := p.skew.Load(); skew != 0 {
		w.Header().Set("Date", time.Now().Add(time.Duration(skew)*time.Second).UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // the client may have disconnected
}

func (p *proxy) forward(r *http.Request, body []byte) (*http.Response, []byte, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.server.URL(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	// The signature covers the host name that the client used.
	out.URL.Path, out.URL.RawPath, out.URL.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	out.Host, out.Header, out.ContentLength = r.Host, r.Header.Clone(), int64(len(body))
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// TestProbeDoubled: requests that arrive twice at the first contact prove nothing, whether it is one
// or all of them, because the store still honours the condition.
func TestProbeDoubled(t *testing.T) {
	for name, twice := range map[string]int64{"one": 1, "all": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := newProxiedSite(t)
			p.twice.Store(twice)
			s.mustPush("anne", "", "gen:3:300:1")
			if p.doubled.Load() == 0 {
				t.Fatal("no request was doubled")
			}
			s.newIndex()
			s.mustPush("anne", "A", "gen:3:300:2")
			s.mustVerify("anne")
		})
	}
}

// TestClockAhead: the store's clock is ten years ahead for a while. Its time is not used.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	s, p := newProxiedSite(t)
	s.mustPush("anne", "", "gen:3:300:1")
	p.skew.Store(10 * 365 * 86400)
	ahead := s.push("anne", "A", "gen:3:300:2") // S3 may refuse signatures that are years apart
	p.skew.Store(0)
	if !ahead.ok() {
		s.mustPush("anne", "A", "gen:3:300:2")
	}
	s.mustPush("anne", "B", "gen:3:300:3")
	s.newIndex()
	s.mustPush("anne", "C", "gen:3:300:4")
	s.mustRestore("anne", 12)
	time.Sleep(1100 * time.Millisecond) // --at has seconds
	now := time.Now().UTC().Format("2006-01-02 15:04:05")
	if n, status, said := s.restored("anne", "--at", now); n != 12 || status != 0 {
		t.Errorf("restore --at %s: %d messages of 12, status %d: %s", now, n, status, said)
	}
	out, status := s.run("ctl_backups", "-C", s.conf, "list", "-A")
	if status != 0 || strings.Contains(out, time.Now().AddDate(10, 0, -3).UTC().Format("2006-01")) {
		t.Errorf("list: status %d: %s", status, out)
	}
	s.mustVerify("anne")
}
