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
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"backupd/replication/client/fakeserver"
	"backupd/replication/cyrus"
	"backupd/replication/dlist"
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

// box is a source of n messages, made from their numbers.
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

func TestSyncUser(t *testing.T) {
	s := new(fakeserver.Server)
	c := dial(t, serve(t, s, "unix"), Options{})
	inbox, sent := newBox("user.anne", 1500), newBox("user.anne.Sent", 3)

	got := syncUser(t, c, inbox, sent)
	want := []Result{
		{Records: 1500, Uploaded: Uploaded{Commands: 2, Files: 1500, Bytes: sizes(inbox)}},
		{Records: 3, Uploaded: Uploaded{Commands: 1, Files: 3, Bytes: sizes(sent)}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("first run: %+v", got)
	}
	log := []string{"GET USER", "APPLY MESSAGE", "APPLY MESSAGE", "APPLY MAILBOX", "APPLY MESSAGE", "APPLY MAILBOX"}
	if st := s.Stats(); !slices.Equal(st.Log, log) {
		t.Errorf("first run: %v", st.Log)
	}
	for _, r := range syncUser(t, c, inbox, sent) {
		if !r.Unchanged || r.Files+r.Records+r.Reserved > 0 {
			t.Errorf("second run: %+v", r)
		}
	}
	// A flag, a new message and a copy of one that the other mailbox holds.
	inbox.records[4].Flags, inbox.records[4].ModSeq = []string{`\Seen`}, inbox.modseq()+1
	inbox.add()
	twin := *sent.records[0]
	twin.UID, twin.ModSeq = uint32(len(inbox.records)+1), inbox.modseq()+1
	inbox.records = append(inbox.records, &twin)
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = syncUser(t, c, inbox, sent)
	if r := got[0]; r.Reserved != 2 || r.Files != 1 || r.Records != 3 || !got[1].Unchanged {
		t.Errorf("third run: %+v", got)
	}

	var full []*cyrus.Record
	fields, err := c.GetFullMailbox(t.Context(), "user.anne", func(r *cyrus.Record) error { full = append(full, r); return nil })
	if err != nil || len(fields) != 14 || !reflect.DeepEqual(full, inbox.records) {
		t.Errorf("full mailbox: %d fields, %d records, %v", len(fields), len(full), err)
	}
	var sb strings.Builder
	f := cyrus.Fetch{Name: "user.anne", Partition: "default", UniqueID: "id-user.anne", GUID: twin.GUID, UID: twin.UID}
	if n, err := c.GetFetch(t.Context(), f, &sb); err != nil || sb.String() != sent.bodies[twin.GUID] || n != int64(sb.Len()) {
		t.Errorf("fetch: %q, %v", sb.String(), err)
	}
	if _, err := c.GetFullMailbox(t.Context(), "user.none", nil); !errors.Is(err, cyrus.ErrNonexistent) {
		t.Errorf("no mailbox: %v", err)
	}
	mbs, err := c.GetMailboxes(t.Context(), []string{"user.anne.Sent", "user.none"})
	if err != nil || len(mbs) != 1 || mbs[0].Name != "user.anne.Sent" {
		t.Errorf("mailboxes: %v, %v", mbs, err)
	}
	if err := c.ApplySub(t.Context(), "anne", "user.anne.Sent"); err != nil {
		t.Fatal(err)
	}
	if u, err := c.GetUser(t.Context(), "anne"); err != nil || !slices.Equal(u.Subs, []string{"user.anne.Sent"}) || len(u.Mailboxes) != 2 {
		t.Errorf("user: %+v, %v", u, err)
	}
	if err := c.Exit(t.Context()); err != nil {
		t.Error(err)
	}
}

func sizes(b *box) (n int64) {
	for _, body := range b.bodies {
		n += int64(len(body))
	}
	return n
}

func TestReserveInParts(t *testing.T) {
	s := new(fakeserver.Server)
	c := dial(t, serve(t, s, "unix"), Options{})
	guids := make([]cyrus.GUID, 20000)
	for i := range guids {
		guids[i][0], guids[i][1] = byte(i), byte(i>>8)
	}
	missing, err := c.Reserve(t.Context(), "default", []string{"user.anne"}, guids)
	if err != nil || !slices.Equal(missing, guids) {
		t.Errorf("%d missing, %v", len(missing), err)
	}
	if st := s.Stats(); len(st.Log) != 3 {
		t.Errorf("%d commands", len(st.Log))
	}
}

func TestConnections(t *testing.T) {
	cert, pool := certificate(t)
	conf := &tls.Config{RootCAs: pool, ServerName: "fake.example"}
	passwords := map[string]string{"repl": "secret"}
	for _, c := range []struct {
		name   string
		server *fakeserver.Server
		o      Options
		direct bool
		fails  string
	}{
		{name: "none"},
		{name: "plain", server: &fakeserver.Server{Passwords: passwords}, o: Options{User: "repl", Password: "secret", Mech: "plain"}},
		{name: "scram", server: &fakeserver.Server{Passwords: passwords}, o: Options{User: "repl", Password: "secret"}},
		{name: "scram wrong", server: &fakeserver.Server{Passwords: passwords}, o: Options{User: "repl", Password: "x"}, fails: "NO authentication failure"},
		{name: "plain wrong", server: &fakeserver.Server{Passwords: passwords}, o: Options{User: "x", Password: "secret", Mech: "PLAIN"}, fails: "NO authentication failure"},
		{name: "no mech", o: Options{User: "x", Mech: "SCRAM-SHA-256"}, fails: "no usable SASL mechanism"},
		{name: "compress", server: &fakeserver.Server{Compress: true}, o: Options{Compress: true}},
		{name: "starttls", server: &fakeserver.Server{Passwords: passwords, TLS: cert}, o: Options{User: "repl", Password: "secret", TLS: conf, StartTLS: true}},
		{name: "starttls not offered", o: Options{TLS: conf, StartTLS: true}, fails: "STARTTLS is not offered"},
		{name: "tls", server: &fakeserver.Server{Passwords: passwords}, o: Options{User: "repl", Password: "secret", TLS: conf}, direct: true},
		{name: "untrusted", o: Options{TLS: &tls.Config{ServerName: "fake.example"}}, direct: true, fails: "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := c.server
			if s == nil {
				s = new(fakeserver.Server)
			}
			if c.direct {
				serveOn(t, s, tls.NewListener(l, cert))
			} else {
				serveOn(t, s, l)
			}
			cl, err := Dial(t.Context(), l.Addr().String(), c.o)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("%v, want %s", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cl.Compressed() != c.o.Compress {
				t.Error("compression")
			}
			if r := syncUser(t, cl, newBox("user.anne", 10)); r[0].Files != 10 {
				t.Errorf("%+v", r)
			}
			if err := cl.Exit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	answer := ""
	s := &fakeserver.Server{Refuse: func(_, key string) string {
		if key == "SUB" {
			return answer
		}
		return ""
	}}
	c := dial(t, serve(t, s, "unix"), Options{})
	for text, want := range map[string]error{
		"NO IMAP_MAILBOX_LOCKED Mailbox locked":          cyrus.ErrLocked,
		"NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox":    cyrus.ErrNonexistent,
		"NO IMAP_MAILBOX_MOVED x":                        cyrus.ErrMoved,
		"NO IMAP_SYNC_CHANGED x":                         cyrus.ErrSyncChanged,
		"NO IMAP_SYNC_CHECKSUM x":                        ErrChecksum,
		"NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters": cyrus.ErrBadParameters,
		"NO IMAP_PROTOCOL_ERROR x":                       cyrus.ErrProtocol,
		"NO IMAP_INVALID_USER x":                         ErrInvalidUser,
		"NO Unknown error":                               nil,
		"BAD what":                                       nil,
	} {
		answer = text
		err := c.ApplySub(t.Context(), "anne", "user.anne")
		var r *Refusal
		if !errors.As(err, &r) || want != nil && !errors.Is(err, want) || err.Error() != "APPLY SUB: "+text {
			t.Errorf("%s: %v", text, err)
		}
		if err := c.Noop(t.Context()); err != nil {
			t.Fatalf("after %s: %v", text, err)
		}
	}
	answer = "BYE shutting down"
	if err := c.ApplySub(t.Context(), "anne", "user.anne"); !errors.Is(err, ErrBye) {
		t.Errorf("BYE: %v", err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, ErrBye) {
		t.Errorf("after BYE: %v", err)
	}
}

func TestUnreadableMessageIsNil(t *testing.T) {
	s := new(fakeserver.Server)
	c := dial(t, serve(t, s, "unix"), Options{})
	b := newBox("user.anne", 3)
	m := b.mailbox()
	gone := errors.New("gone")
	open := m.Open
	m.Open = func(r *cyrus.Record) (io.ReadCloser, error) {
		if r.UID == 2 {
			return nil, gone
		}
		return open(r)
	}
	res, err := c.SyncMailbox(t.Context(), m, nil, nil)
	if !errors.Is(err, cyrus.ErrBadParameters) { // this server wants every body
		t.Errorf("%v", err)
	}
	if st := s.Stats(); st.Nils != 1 || st.Messages != 2 || len(res.Unreadable) != 1 || !errors.Is(res.Unreadable[0], gone) {
		t.Errorf("%+v, %+v", st, res)
	}
	m.Open = func(*cyrus.Record) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("short")), nil }
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SyncMailbox(t.Context(), m, nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short body: %v", err)
	}
	if err := c.Noop(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("connection after a short body: %v", err)
	}
}

// script answers a connection: for each line read one text is sent.
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

func TestReplies(t *testing.T) {
	c, _ := script(t,
		"* MAILBOX %(UNIQUEID x)\r\n* NEWKIND (a {3}\r\nb\r\n)\r\n* SEEN x\r\nOK Success\r\n",
		"OK fine\r\n", "* LSUB (a b)\n* LSUB (c)\r\nOK\r\n", "MAYBE x\r\n")
	if f := c.Banner().Features; len(f) != 1 || f[0] != "X-NEW" {
		t.Errorf("banner %+v", c.Banner())
	}
	if _, err := c.GetUser(t.Context(), "anne"); !errors.Is(err, cyrus.ErrBadParameters) || !strings.Contains(err.Error(), "MBOXNAME: is missing") {
		t.Errorf("bad mailbox: %v", err)
	}
	if err := c.Noop(t.Context()); err != nil {
		t.Errorf("the connection does not live: %v", err)
	}
	if u, err := c.GetUser(t.Context(), "anne"); err != nil || !slices.Equal(u.Subs, []string{"a", "b", "c"}) {
		t.Errorf("%+v, %v", u, err)
	}
	if err := c.Noop(t.Context()); err == nil || !strings.Contains(err.Error(), "is no status") {
		t.Errorf("%v", err)
	}
}

func TestLostConnections(t *testing.T) {
	for _, a := range []string{"", "* LSUB (a", "* LSUB (a)\r\nO", "* Fatal error: out of memory\r\n"} {
		c, _ := script(t, a)
		_, err := c.GetUser(t.Context(), "anne")
		if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "Fatal error: out of memory") {
			t.Errorf("%q: %v", a, err)
		}
		if again := c.Noop(t.Context()); again == nil {
			t.Errorf("%q: works on", a)
		}
	}
	c, lines := script(t, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-lines; cancel() }()
	if err := c.Noop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRestoreMailbox(t *testing.T) {
	c, lines := script(t, "OK success\r\n", "OK success\r\n")
	b := newBox("user.anne", 1)
	fields := []dlist.Pair{dlist.P("MBOXNAME", dlist.S("user.anne")), dlist.P("ACL", dlist.Value{})}
	rec := "%(UID 1 MODSEQ 2 LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE 31 GUID " + b.records[0].GUID.String() + ")"
	if err := c.RestoreMailbox(t.Context(), fields, recordsOf(b.records), true); err != nil {
		t.Fatal(err)
	}
	if got, want := <-lines, "RESTORE LOCAL_MAILBOX %(MBOXNAME user.anne ACL NIL RECORD ("+rec+"))\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := c.RestoreMailbox(t.Context(), fields, recordsOf(nil), false); err != nil {
		t.Fatal(err)
	}
	if got, want := <-lines, "RESTORE MAILBOX %(MBOXNAME user.anne ACL NIL RECORD ())\r\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSecret(t *testing.T) {
	o := Options{User: "u", Password: "hush"}
	if s := fmt.Sprintf("%v %+v %#v %s", o, o, o, o.Password); strings.Contains(s, "hush") {
		t.Error(s)
	}
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
