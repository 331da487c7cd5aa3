package s3wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// DefaultStall is how long a connection may be silent in both directions.
const DefaultStall = 2 * time.Minute

// Tune configures a transport: many idle connections to the one host, no HTTP/2 (a single
// connection is slower with S3), and a guard that closes a connection after stall without a
// byte (0: DefaultStall). Large slow uploads are not interrupted.
func Tune(t *http.Transport, stall time.Duration) {
	if stall <= 0 {
		stall = DefaultStall
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &guarded{Conn: conn, stall: stall}, nil
	}
	t.Proxy = http.ProxyFromEnvironment
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.DisableCompression = true // lengths and ranges refer to the stored bytes
	t.TLSHandshakeTimeout = 15 * time.Second
	t.ExpectContinueTimeout = time.Second
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 64, 64
	t.IdleConnTimeout = min(stall, time.Minute)
}

// guarded extends both deadlines with each read and write, so that a connection ends only
// if it is silent in both directions.
type guarded struct {
	net.Conn
	stall time.Duration
}

func (g *guarded) Read(p []byte) (int, error) {
	if err := g.SetDeadline(time.Now().Add(g.stall)); err != nil {
		return 0, err
	}
	return g.Conn.Read(p)
}

func (g *guarded) Write(p []byte) (int, error) {
	if err := g.SetDeadline(time.Now().Add(g.stall)); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

// CAPool is the system's certificate pool plus the certificates of a PEM file.
func CAPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %w", errors.New(file+" contains no PEM certificate"))
	}
	return pool, nil
}

type dateKey struct{}

// Date stores the Date header of the newest answer, set by Dated.
type Date struct {
	mu sync.Mutex
	at time.Time
}

// Get returns the store's clock in the newest answer, or zero.
func (d *Date) Get() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

// WithDate makes Dated record the answers to requests with this context.
func WithDate(ctx context.Context) (context.Context, *Date) {
	d := new(Date)
	return context.WithValue(ctx, dateKey{}, d), d
}

// Dated is for SDKs that do not expose the Date header.
type Dated struct{ http.RoundTripper }

// RoundTrip records the date of the answer.
func (d Dated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	if date, ok := r.Context().Value(dateKey{}).(*Date); ok {
		if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			date.mu.Lock()
			date.at = t
			date.mu.Unlock()
		}
	}
	return resp, nil
}
