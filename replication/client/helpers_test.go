package client

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"iter"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// serve starts a server and returns its address.
func serve(t *testing.T, s *fakeserver.Server, network string) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	return l.Addr().String()
}

func serveOn(t *testing.T, s *fakeserver.Server, l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func dial(t *testing.T, addr string, o Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// box is a source of n messages, generated from their numbers.
type box struct {
	name    string
	records []*cyrus.Record
	bodies  map[cyrus.GUID]string
}

func newBox(name string, n int) *box {
	b := &box{name: name, bodies: map[cyrus.GUID]string{}}
	for range n {
		b.add()
	}
	return b
}

func (b *box) add() {
	uid := uint32(len(b.records) + 1)
	body := fmt.Sprintf("Subject: %s %d\r\n\r\nhello\r\n", b.name, uid)
	g := cyrus.GUID(sha1.Sum([]byte(body)))
	b.bodies[g] = body
	b.records = append(b.records, &cyrus.Record{UID: uid, ModSeq: b.modseq() + 1, LastUpdated: 1700000000, InternalDate: 1700000000, Size: uint32(len(body)), GUID: g})
}

func (b *box) modseq() uint64 {
	m := uint64(1)
	for _, r := range b.records {
		m = max(m, r.ModSeq)
	}
	return m
}

func (b *box) mailbox() *Mailbox {
	crc := cyrus.NewCRC()
	for _, r := range b.records {
		crc.Add(r)
	}
	num := func(k string, n uint64) dlist.Pair { return dlist.P(k, dlist.N(n)) }
	return &Mailbox{
		Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("id-"+b.name)), dlist.P("MBOXNAME", dlist.S(b.name)),
			num("SYNC_CRC", uint64(crc.Basic)), num("SYNC_CRC_ANNOT", uint64(crc.Annot)), num("LAST_UID", uint64(len(b.records))),
			num("HIGHESTMODSEQ", b.modseq()), num("RECENTUID", 0), num("RECENTTIME", 0), num("LAST_APPENDDATE", 0), num("POP3_LAST_LOGIN", 0),
			num("UIDVALIDITY", 1), dlist.P("PARTITION", dlist.S("default")), dlist.P("ACL", dlist.S("anne\tlrs\t")), dlist.P("OPTIONS", dlist.S("P"))},
		Records: recordsOf(b.records),
		Open: func(r *cyrus.Record) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(b.bodies[r.GUID])), nil
		},
	}
}

func recordsOf(rs []*cyrus.Record) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func syncUser(t *testing.T, c *Client, boxes ...*box) []Result {
	t.Helper()
	var mbs []*Mailbox
	for _, b := range boxes {
		mbs = append(mbs, b.mailbox())
	}
	var out []Result
	_, err := c.SyncUser(t.Context(), "anne", mbs, func(_ *cyrus.Mailbox, r Result) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// script answers a connection: it sends one text for each line it reads.
func script(t *testing.T, answers ...string) (*Client, <-chan string) {
	t.Helper()
	ours, theirs := net.Pipe()
	lines := make(chan string, 10)
	go func() {
		defer close(lines)
		defer func() { _ = theirs.Close() }()
		r := bufio.NewReader(theirs)
		if _, err := io.WriteString(theirs, "* SASL\r\n* X-NEW a b\r\n* OK h s v\r\n"); err != nil {
			return
		}
		for _, a := range answers {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
			if a == "hang" {
				_, _ = r.ReadByte()
				return
			}
			if _, err := io.WriteString(theirs, a); err != nil {
				return
			}
		}
	}()
	c, err := New(t.Context(), ours, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, lines
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"fake.example"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}
