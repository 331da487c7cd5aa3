package replication_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// certificate makes a TLS configuration for tests.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"backup.example.com"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func withTLS(t testing.TB) func(*replication.Options) {
	conf := certificate(t)
	return func(o *replication.Options) { o.TLS = func() *tls.Config { return conf } }
}

// startTLS makes the client's end of a connection speak TLS.
func startTLS(t *testing.T, nc net.Conn) *tls.Conn {
	t.Helper()
	tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return tc
}

const tlsBanner = "[* SASL PLAIN LOGIN * OK backup.example.com Cyrus backup server 1.0]"

func TestStartTLS(t *testing.T) {
	b := dial(t, newServer(t, replicationtest.NewStore(), withTLS(t)), replication.ConnOptions{})
	want := "[* SASL PLAIN LOGIN * STARTTLS * COMPRESS DEFLATE * OK backup.example.com Cyrus backup server 1.0]"
	if got := fmt.Sprint(b.banner); got != want {
		t.Errorf("banner %s", got)
	}
	b.want("STARTTLS now", "BAD Unexpected extra arguments to Starttls")
	b.want("STARTTLS", "OK Begin TLS negotiation now")
	c, banner, err := replicationtest.NewClient(startTLS(t, b.Conn))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(banner); got != tlsBanner {
		t.Errorf("banner under TLS %s", got)
	}
	b.Client = c
	b.want("STARTTLS", "BAD Already did a successful Starttls")
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00secret"), "OK Success (tls protection)")
	b.want("COMPRESS DEFLATE", "NO COMPRESS is not available over TLS")
	b.want("GET USER anne", "OK Success")
	b.want("EXIT", "OK Finished")
	if line, err := b.Line(); err != io.EOF {
		t.Errorf("after EXIT: %q %v", line, err)
	}
	if err := <-b.ended; err != nil {
		t.Errorf("ServeConn: %v", err)
	}
}

func TestStartTLSNotConfigured(t *testing.T) {
	b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
	b.want("STARTTLS", "NO Error initializing TLS")
}

// allowstarttls: no
func TestStartTLSSwitchedOff(t *testing.T) {
	tls := withTLS(t)
	b := dial(t, newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		tls(o)
		o.NoStartTLS = true
	}), replication.ConnOptions{})
	if got := fmt.Sprint(b.banner); strings.Contains(got, "STARTTLS") {
		t.Errorf("banner %s", got)
	}
	b.want("STARTTLS", "NO STARTTLS is switched off")
}

// Input sent in the clear after STARTTLS is not executed under TLS.
func TestStartTLSInjection(t *testing.T) {
	store := replicationtest.NewStore()
	b := dial(t, newServer(t, store, withTLS(t)), replication.ConnOptions{})
	r, err := b.Send([]byte("STARTTLS\r\nNOOP\r\nRESTART\r\n"))
	if err != nil || !r.OK() {
		t.Fatalf("%v %v", r, err)
	}
	c, banner, err := replicationtest.NewClient(startTLS(t, b.Conn))
	if err != nil || fmt.Sprint(banner) != tlsBanner {
		t.Fatalf("%v %v", banner, err)
	}
	b.Client = c
	b.want("COMPRESS X", "NO Please authenticate first") // and not "OK Noop completed"
	b.want("EXIT", "OK Finished")
	if line, err := b.Line(); err != io.EOF {
		t.Errorf("after EXIT: %q %v", line, err)
	}
}

func TestImplicitTLS(t *testing.T) {
	client, server := net.Pipe()
	b := serve(t, newServer(t, replicationtest.NewStore(), withTLS(t)), server, replication.ConnOptions{ImplicitTLS: true})
	t.Cleanup(func() { client.Close() })
	c, banner, err := replicationtest.NewClient(startTLS(t, client))
	if err != nil || fmt.Sprint(banner) != tlsBanner {
		t.Fatalf("%v %v", banner, err)
	}
	b.Client = c
	b.want("EXIT", "OK Finished")
	if line, err := b.Line(); err != io.EOF {
		t.Errorf("after EXIT: %q %v", line, err)
	}
}

// deflated is the client's end of a compressed connection.
type deflated struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (d *deflated) Read(p []byte) (int, error) { return d.r.Read(p) }
func (d *deflated) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	if err == nil {
		err = d.w.Flush()
	}
	return n, err
}

// deflate is a Client on a connection that compresses from now on.
func deflate(t *testing.T, nc net.Conn) *replicationtest.Client {
	t.Helper()
	fw, err := flate.NewWriter(nc, 6)
	if err != nil {
		t.Fatal(err)
	}
	return replicationtest.Wrap(&deflated{nc, flate.NewReader(nc), fw})
}

func TestCompress(t *testing.T) {
	store := replicationtest.NewStore()
	b := dial(t, newServer(t, store, nil), replication.ConnOptions{})
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00secret"), "OK Success (no protection)")
	b.want("COMPRESS DEFLATE", "OK DEFLATE active")
	b.Client = deflate(t, b.Conn)
	b.want("COMPRESS DEFLATE", "NO Compression already active: DEFLATE")
	b.want("APPLY MESSAGE (%{p "+guidHello+" 5}\r\nhello)", "OK Success")
	b.want("APPLY MAILBOX "+box+" RECORD ("+record+"))", "OK Success")
	r, err := b.Do("GET FULLMAILBOX user.anne")
	if err != nil || len(r.Untagged) != 1 || !strings.HasSuffix(r.Untagged[0], " RECORD ("+record+"))") {
		t.Errorf("%v %v", r, err)
	}
	// More than the buffers hold, in both directions.
	many := strings.Repeat(" "+guidOther, 8193)
	r, err = b.Do("APPLY RESERVE %(PARTITION p MBOXNAME (user.anne) GUID (" + many[1:] + "))")
	if err != nil || !r.OK() || len(r.Untagged) != 1 || r.Untagged[0] != "MISSING ("+many[1:]+")" {
		t.Errorf("RESERVE: %v", err)
	}
	b.want("EXIT", "OK Finished")
}

// A client that has not logged in cannot start a compressor.
func TestCompressBeforeLogin(t *testing.T) {
	b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
	b.want("COMPRESS DEFLATE", "NO Please authenticate first")
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00secret"), "OK Success (no protection)")
}

func TestCompressNotOffered(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.OfferCompress = func(net.Addr) bool { return false }
	})
	if got := fmt.Sprint(dial(t, srv, replication.ConnOptions{}).banner); strings.Contains(got, "COMPRESS") {
		t.Error(got)
	}
}
