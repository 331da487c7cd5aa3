package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// TestMain makes the test binary ctl_backups doctor when Examine starts it as another user.
func TestMain(m *testing.M) {
	if len(os.Args) > 6 && os.Args[1] == "doctor" {
		e := Examiner{Options: Options{Config: os.Args[4], CyrusConf: os.Args[6], Space: plenty, Systemd: "/nonexistent", SASLDB: "/nonexistent"}}
		found, err := e.Examine(context.Background())
		if err == nil {
			err = PrintJSON(os.Stdout, found, true)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); hasKeys(name) || strings.HasPrefix(name, "CYRUS_") {
			_ = os.Unsetenv(name) // it exists
		}
	}
	os.Exit(m.Run())
}

func plenty(string) (Space, error) { return Space{Free: 1 << 40, Total: 1 << 41, Files: -1}, nil }

// host is a backup host in a directory. Without changes, it is healthy.
type host struct {
	t     *testing.T
	root  string
	user  string
	lines []string // of imapd.conf
	cyrus string   // cyrus.conf; "" = none
	facts Facts
	space Space
	cert  certificate
	soon  time.Duration
}

// path returns a path on the host.
func (h *host) path(name string) string { return filepath.Join(h.root, name) }

// newHost makes a host with a directory as its partition.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, root: t.TempDir(), user: "nobody", facts: Facts{Memory: 8 << 30}, space: Space{Free: 1 << 40, Total: 1 << 41, Files: -1}}
	for _, d := range []string{h.root, filepath.Dir(h.root)} {
		h.must(os.Chmod(d, 0o755))
	}
	h.must(os.Mkdir(h.path("conf"), 0o700))
	s, err := dirstore.Open(h.path("spool"))
	h.must(err)
	h.must(s.Close())
	h.write("conf/backup-credentials.db", passwords(), 0o600)
	h.cert = certificate{from: now.Add(-time.Hour), to: now.Add(365 * 24 * time.Hour)}
	self, err := os.Executable()
	h.must(err)
	for _, name := range []string{"backupd", "ctl_backups"} {
		h.must(os.Symlink(self, h.path(name)))
	}
	h.lines = []string{
		"configdirectory: " + h.path("conf"), "cyrus_user: " + h.user, "servername: backup.example.com", "admins: repl",
		"tls_server_cert: " + h.path("cert.pem"), "tls_server_key: " + h.path("key.pem"), "tls_required: yes",
		"temp_path: " + h.root, "backuppartition-default: " + h.path("spool"),
	}
	h.cyrus = `START {
}
SERVICES {
  # comment
  imap     cmd="imapd" listen="imap" prefork=0
  backupd  cmd="` + h.path("backupd") + `" listen="2005" prefork=0 maxfds=2500
}
EVENTS {
  compact  cmd="` + h.path("ctl_backups") + ` compact -A --for 4h" at=0400
}
`
	return h
}

// passwords is a file with a password of repl. To make one takes half a second with -race.
var passwords = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "doctor-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	err = sasl.SetPassword(filepath.Join(dir, "db"), "repl", "secret")
	text, err2 := os.ReadFile(filepath.Join(dir, "db"))
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	return string(text)
})

// now is about the time of the hosts.
var now = time.Now()

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// set replaces the line of an option, or adds it.
func (h *host) set(option, value string) {
	for i, line := range h.lines {
		if strings.HasPrefix(line, option+":") {
			h.lines[i] = option + ": " + value
			return
		}
	}
	h.lines = append(h.lines, option+": "+value)
}

// unset removes an option.
func (h *host) unset(option string) {
	for i, line := range h.lines {
		if strings.HasPrefix(line, option+":") {
			h.lines = append(h.lines[:i], h.lines[i+1:]...)
			return
		}
	}
}

// cyrusLine replaces text in cyrus.conf.
func (h *host) cyrusLine(old, text string) {
	h.t.Helper()
	if !strings.Contains(h.cyrus, old) {
		h.t.Fatalf("%q is not in cyrus.conf", old)
	}
	h.cyrus = strings.ReplaceAll(h.cyrus, old, text)
}

func (h *host) write(name, text string, mode os.FileMode) {
	h.t.Helper()
	h.must(os.WriteFile(h.path(name), []byte(text), mode))
	h.must(os.Chmod(h.path(name), mode))
}

// prepare writes the files.
func (h *host) prepare() {
	h.t.Helper()
	h.cert.write(h)
	h.write("imapd.conf", strings.Join(h.lines, "\n")+"\n", 0o644)
	if h.cyrus != "" {
		h.write("cyrus.conf", h.cyrus, 0o644)
	}
}

func (h *host) options() Options {
	return Options{Config: h.path("imapd.conf"), CyrusConf: h.path("cyrus.conf"), Facts: h.facts, Systemd: h.path("systemd"), SASLDB: h.path("sasldb2"), User: func() int { return lookUp(h.user).UID },
		Soon: h.soon, Space: func(string) (Space, error) { return h.space, nil }}
}

// run checks the host, and returns the findings that are not ok.
func (h *host) run() []Finding {
	h.t.Helper()
	return faults(Run(h.t.Context(), h.options()))
}

func faults(all []Finding) (bad []Finding) {
	for _, f := range all {
		if f.Level != OK {
			bad = append(bad, f)
		}
	}
	return bad
}

// want is the one finding of a fault.
type want struct {
	level Level
	check string
	where string // its end
	text  string // in it
	fix   string // in it
}

func expect(t *testing.T, got []Finding, w want) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%d findings, want 1: %s", len(got), table(got))
	}
	f := got[0]
	if f.Level != w.level || f.Check != w.check || !strings.HasSuffix(f.Where, w.where) || !strings.Contains(f.Text, w.text) || !strings.Contains(f.Fix, w.fix) {
		t.Errorf("%+v, want %+v", f, w)
	}
	if f.Fix == "" {
		t.Errorf("no fix: %+v", f)
	}
}

func table(all []Finding) string {
	var b bytes.Buffer
	_ = Print(&b, all) // into memory
	return b.String()
}

// certificate is that of the host.
type certificate struct {
	from, to  time.Time
	wrongKey  bool
	wrongNext bool // another certificate follows, which has not signed it
}

func (c certificate) write(h *host) {
	h.t.Helper()
	pemOf, key := c.make(h, "backup.example.com")
	if c.wrongKey {
		_, key = c.make(h, "other")
	}
	if c.wrongNext {
		other, _ := c.make(h, "other")
		pemOf = append(pemOf, other...)
	}
	h.write("cert.pem", string(pemOf), 0o644)
	h.write("key.pem", string(key), 0o600)
}

func (c certificate) make(h *host, name string) (cert, key []byte) {
	h.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: c.from, NotAfter: c.to, DNSNames: []string{name},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	h.must(err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	h.must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// keys writes a file with keys, and uses it.
func (h *host) keys(k *objstore.Credentials) {
	h.t.Helper()
	h.write("keys", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", k.AccessKey, string(k.SecretKey), string(k.SessionToken)), 0o600)
	h.set("backup_credentials_file", h.path("keys"))
}
