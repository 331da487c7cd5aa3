package tlsconf

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = ecdsaKey(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: []byte("authority"),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.last = 1
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func ecdsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der ...[]byte) {
	a.t.Helper()
	var b bytes.Buffer
	for _, d := range der {
		if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: d}); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := os.WriteFile(a.path(name), b.Bytes(), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes name.pem and name.key and returns the serial number.
func (a *authority) issue(name string, key crypto.Signer) int64 {
	a.t.Helper()
	a.last++
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(a.last), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", pkcs8)
	return a.last
}

func (a *authority) conf(text string) *imapconf.File {
	a.t.Helper()
	conf, err := imapconf.Parse("c", "configdirectory: /x\n"+strings.ReplaceAll(text, "$", a.dir), "backupd")
	if err != nil {
		a.t.Fatal(err)
	}
	return conf
}

// connect performs a handshake and a round trip; client is the name of a certificate or "".
func (a *authority) connect(config *tls.Config, client string, change func(*tls.Config)) (tls.ConnectionState, error) {
	a.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	cc := &tls.Config{RootCAs: roots, ServerName: "server"}
	if client != "" {
		pair, err := tls.LoadX509KeyPair(a.path(client+".pem"), a.path(client+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		cc.Certificates = []tls.Certificate{pair}
	}
	if change != nil {
		change(cc)
	}
	left, right := a.sockets()
	defer left.Close()
	defer right.Close()
	for _, c := range []net.Conn{left, right} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			a.t.Fatal(err)
		}
	}
	server := tls.Server(left, config)
	result := make(chan error, 1)
	go func() {
		c := tls.Client(right, cc)
		_, err := c.Write([]byte("x"))
		if err == nil {
			// Reads session tickets or an alert of the server.
			_, _ = io.Copy(io.Discard, c)
		}
		right.Close()
		result <- err
	}()
	_, err := server.Read(make([]byte, 1))
	left.Close()
	if clientErr := <-result; err == nil {
		err = clientErr
	}
	return server.ConnectionState(), err
}

// sockets returns two ends with buffers, so that no side waits until an alert is read.
func (a *authority) sockets() (net.Conn, net.Conn) {
	a.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	defer l.Close()
	right, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	left, err := l.Accept()
	if err != nil {
		a.t.Fatal(err)
	}
	return left, right
}

const pair = "tls_server_cert: $/server.pem\ntls_server_key: $/server.key\n"

func TestOff(t *testing.T) {
	a := newAuthority(t)
	for _, text := range []string{"", "tls_server_cert: disabled\n", "tls_server_cert: /none\ntls_server_key: Disabled\n"} {
		s, err := Load(a.conf(text), nil)
		if s != nil || err != nil || s.Config() != nil || s.Reload() != nil {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func TestHandshake(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	a.issue("client", ecdsaKey(t))
	load := func(text string) *tls.Config {
		t.Helper()
		s, err := Load(a.conf(pair+text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Config()
	}
	state, err := a.connect(load(""), "client", nil)
	if err != nil || state.Version != tls.VersionTLS13 || len(state.PeerCertificates) != 0 {
		t.Errorf("%v %+v", err, state)
	}
	old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }
	if _, err := a.connect(load(""), "", old); err == nil {
		t.Error("TLS 1.1 by default")
	}
	if _, err := a.connect(load("tls_versions: tls1_0 tls1_1 tls1_2\n"), "", old); err != nil {
		t.Errorf("TLS 1.1: %v", err)
	}
	const ca = "tls_client_ca_file: $/ca.pem\n"
	if state, err := a.connect(load(ca), "client", nil); err != nil || state.VerifiedChains[0][0].Subject.CommonName != "client" {
		t.Errorf("optional, given: %v", err)
	}
	if state, err := a.connect(load(ca), "", nil); err != nil || len(state.VerifiedChains) != 0 {
		t.Errorf("optional, none: %v", err)
	}
	if _, err := a.connect(load(ca+"tls_client_certs: require\n"), "", nil); err == nil {
		t.Error("required, none: accepted")
	}
	if state, err := a.connect(load(ca+"tls_client_certs: off\n"), "client", nil); err != nil || len(state.PeerCertificates) != 0 {
		t.Errorf("off: %v", err)
	}
	other := newAuthority(t)
	other.issue("client", ecdsaKey(t))
	foreign := func(c *tls.Config) {
		p, err := tls.LoadX509KeyPair(other.path("client.pem"), other.path("client.key"))
		if err != nil {
			t.Fatal(err)
		}
		// Sent even though the server does not name its authority.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p, nil }
	}
	if _, err := a.connect(load(ca), "", foreign); err == nil {
		t.Error("a foreign certificate is accepted")
	}
}

func TestAuthorityDirectory(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	a.issue("client", ecdsaKey(t))
	if err := os.Mkdir(a.path("cas"), 0o700); err != nil {
		t.Fatal(err)
	}
	const text = pair + "tls_client_ca_dir: $/cas\n"
	if _, err := Load(a.conf(text), nil); err == nil || !strings.Contains(err.Error(), "c:4: tls_client_ca_dir: ") {
		t.Errorf("empty: %v", err)
	}
	a.write("cas/0123abcd.0", "CERTIFICATE", a.cert.Raw)
	if err := os.WriteFile(a.path("cas/README"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(a.conf(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := a.connect(s.Config(), "client", nil); err != nil || len(state.VerifiedChains) == 0 {
		t.Errorf("%v", err)
	}
}

func TestRevocation(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	a.issue("good", ecdsaKey(t))
	bad := a.issue("bad", ecdsaKey(t))
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now(),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(bad), RevocationTime: time.Now()}},
	}, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.write("crl.pem", "X509 CRL", list)
	s, err := Load(a.conf(pair+"tls_client_ca_file: $/ca.pem\ntls_crl_file: $/crl.pem\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.connect(s.Config(), "good", nil); err != nil {
		t.Error(err)
	}
	if _, err := a.connect(s.Config(), "bad", nil); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("revoked: %v", err)
	}
}

func TestTwoCertificates(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.path("server.pem"), a.path("ec.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.path("server.key"), a.path("ec.key")); err != nil {
		t.Fatal(err)
	}
	a.issue("server", key)
	s, err := Load(a.conf("tls_server_cert: $/ec.pem, $/server.pem\ntls_server_key: $/ec.key,$/server.key\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, suite := range map[string]uint16{"rsa": tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ecdsa": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256} {
		_, err := a.connect(s.Config(), "", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite}
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without tls_server_key the key is in the file of the certificate.
	both, err := os.ReadFile(a.path("ec.pem"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(a.path("ec.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.path("both.pem"), append(both, secret...), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Load(a.conf("tls_server_cert: $/both.pem\n"), nil); err != nil || len(s.Config().Certificates) != 1 {
		t.Errorf("one file: %v", err)
	}
}

func TestReload(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	var log bytes.Buffer
	s, err := Load(a.conf(pair), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := s.Config()
	if s.Config() != first {
		t.Error("a new configuration although nothing has changed")
	}
	serial := func(c *tls.Config) int64 { return c.Certificates[0].Leaf.SerialNumber.Int64() }
	want := a.issue("server", ecdsaKey(t))
	if got := serial(s.Config()); got != want {
		t.Errorf("serial %d, want %d", got, want)
	}
	if err := os.WriteFile(a.path("server.pem"), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := serial(s.Config()); got != want {
			t.Errorf("serial %d, want %d", got, want)
		}
	}
	if n := strings.Count(log.String(), "TLS keeps"); n != 1 {
		t.Errorf("%d messages: %s", n, log.String())
	}
	if err := s.Reload(); err == nil {
		t.Error("reload accepts half a file")
	}
	want = a.issue("server", ecdsaKey(t))
	if got := serial(s.Config()); got != want {
		t.Errorf("serial %d, want %d", got, want)
	}
}

func TestErrors(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", ecdsaKey(t))
	a.issue("other", ecdsaKey(t))
	if err := os.WriteFile(a.path("text"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, want string }{
		{"tls_server_cert: $/none\ntls_server_key: $/server.key", "c:2: tls_server_cert: open $/none: no such file or directory"},
		{"tls_server_cert: $/server.pem\ntls_server_key: $/none", "c:3: tls_server_key: open $/none: no such file or directory"},
		{"tls_server_cert: $/server.pem\ntls_server_key: $/other.key", "c:3: tls_server_key: certificate $/server.pem with key $/other.key: tls: private key does not match public key"},
		{"tls_server_cert: $/server.pem\ntls_server_key: $/a,$/b", "c:3: tls_server_key: 2 files, but tls_server_cert has 1"},
		{pair + "tls_versions: ssl3", "c:4: tls_versions: names no version; allowed: tls1_0 tls1_1 tls1_2 tls1_3"},
		{pair + "tls_client_certs: require", "c:4: tls_client_certs: require needs tls_client_ca_file or tls_client_ca_dir"},
		{pair + "tls_client_ca_file: $/text", "c:4: tls_client_ca_file: $/text: no certificate in the file"},
		{pair + "tls_client_ca_dir: $/none", "c:4: tls_client_ca_dir: open $/none: no such file or directory"},
		{pair + "tls_client_ca_file: $/ca.pem\ntls_crl_file: $/text", "c:5: tls_crl_file: $/text: no revocation list in the file"},
		{pair + "tls_versions: x\ntls_client_ca_file: $/text", "c:4: tls_versions: names no version; allowed: tls1_0 tls1_1 tls1_2 tls1_3\nc:5: tls_client_ca_file: $/text: no certificate in the file"},
	}
	for _, tt := range tests {
		s, err := Load(a.conf(tt.text+"\n"), nil)
		want := strings.ReplaceAll(tt.want, "$", a.dir)
		if s != nil || err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", tt.text, err, want)
		}
	}
	if _, err := Load(a.conf(tests[0].text), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is missing: %v", err)
	}
}

func TestVersions(t *testing.T) {
	a := newAuthority(t)
	for words, want := range map[string]string{
		"tls1_2 tls1_3":               "303-304",
		"tls1_3":                      "304-304",
		"tls1_0 tls1_1 tls1_2 tls1_3": "301-304",
		"tls1_1 tls1_3 tls9":          "304-304 warnings 2",
	} {
		b := &builder{conf: a.conf("tls_versions: " + words + "\n")}
		c := new(tls.Config)
		if err := b.versions(c); err != nil {
			t.Error(err)
		}
		got := fmt.Sprintf("%x-%x", c.MinVersion, c.MaxVersion)
		if len(b.warnings) > 0 {
			got += fmt.Sprintf(" warnings %d", len(b.warnings))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", words, got, want)
		}
	}
}

func TestCiphers(t *testing.T) {
	names := func(ids []uint16) string {
		var s []string
		for _, x := range opensslNames() {
			if slices.Contains(ids, x.id) {
				s = append(s, x.name)
			}
		}
		slices.Sort(s)
		return strings.Join(s, " ")
	}
	tests := []struct {
		list, want string
		warnings   int
	}{
		{"DEFAULT", "", 0},
		{"", "", 0},
		{"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-AES128-GCM-SHA256", 0},
		{"ECDHE+AESGCM:!aECDSA:@STRENGTH", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384", 0},
		{"HIGH:!aNULL:!MD5:!3DES:!AES:-CAMELLIA", "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305", 0},
		{"AES128-SHA", "AES128-SHA", 0},
		{"DES-CBC3-SHA", "DES-CBC3-SHA", 0},
		{"DHE-RSA-AES128-SHA:CHACHA20 -aRSA", "ECDHE-ECDSA-CHACHA20-POLY1305", 1},
		{"CAMELLIA128-SHA", "", 2},
		{"TLS_AES_128_GCM_SHA256", "", 1},
	}
	for _, tt := range tests {
		ids, warnings := parseCiphers(tt.list)
		if got := names(ids); got != tt.want || len(warnings) != tt.warnings {
			t.Errorf("%q: %q %q", tt.list, got, warnings)
		}
	}
}
