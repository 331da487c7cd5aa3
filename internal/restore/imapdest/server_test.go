package imapdest_test

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/imapdest"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// server is an IMAP server in memory with the quirks of others.
type server struct {
	t    *testing.T
	addr string
	user *imapmemserver.User

	create   func(name string) error
	status   func(name string) error
	selected func(*imap.SelectData)
	changes  func([]byte) []byte     // how it changes a message
	store    func(imap.Flag) error   // refuses a flag
	hangUp   func(appended int) bool // instead of answering an APPEND
	lies     bool                    // reports wrong sizes
	noUID    bool                    // no UIDPLUS
	renewed  bool                    // its INBOX has another uidvalidity than other servers

	appends, bodies atomic.Int32 // messages sent and read
}

func (s *server) start(t *testing.T) *server {
	s.t = t
	mem := imapmemserver.New()
	s.user = imapmemserver.NewUser("anne", "secret")
	if s.renewed {
		if err := s.user.Create("before", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem.AddUser(s.user)
	caps := imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}}
	if s.noUID {
		delete(caps, imap.CapUIDPlus)
	}
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &odd{Session: mem.NewSession(), s: s, c: c.NetConn()}, nil, nil
		},
		Caps: caps, InsecureAuth: true,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(&listener{l, s}) }()
	t.Cleanup(func() { _ = srv.Close() })
	s.addr = l.Addr().String()
	return s
}

// odd is a session of the server.
type odd struct {
	imapserver.Session
	s *server
	c net.Conn
}

func (o *odd) Create(name string, opt *imap.CreateOptions) error {
	if o.s.create != nil {
		if err := o.s.create(name); err != nil {
			return err
		}
	}
	return o.Session.Create(name, opt)
}

func (o *odd) Status(name string, opt *imap.StatusOptions) (*imap.StatusData, error) {
	if o.s.status != nil {
		if err := o.s.status(name); err != nil {
			return nil, err
		}
	}
	return o.Session.Status(name, opt)
}

func (o *odd) Select(name string, opt *imap.SelectOptions) (*imap.SelectData, error) {
	d, err := o.Session.Select(name, opt)
	if err == nil && o.s.selected != nil {
		o.s.selected(d)
	}
	return d, err
}

type literal struct {
	*bytes.Reader
	size int64
}

func (l literal) Size() int64 { return l.size }

func (o *odd) Append(name string, r imap.LiteralReader, opt *imap.AppendOptions) (*imap.AppendData, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if o.s.changes != nil {
		b = o.s.changes(b)
	}
	for _, f := range opt.Flags {
		if err := o.refuses(f); err != nil {
			return nil, err
		}
	}
	n := int(o.s.appends.Add(1))
	d, err := o.Session.Append(name, literal{bytes.NewReader(b), int64(len(b))}, opt)
	if err == nil && o.s.hangUp != nil && o.s.hangUp(n) {
		return nil, o.c.Close()
	}
	if o.s.noUID {
		d = nil
	}
	return d, err
}

func (o *odd) refuses(f imap.Flag) error {
	if o.s.store == nil {
		return nil
	}
	return o.s.store(f)
}

func (o *odd) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, opt *imap.StoreOptions) error {
	for _, f := range flags.Flags {
		if err := o.refuses(f); err != nil {
			return err
		}
	}
	return o.Session.Store(w, set, flags, opt)
}

func (o *odd) Fetch(w *imapserver.FetchWriter, set imap.NumSet, opt *imap.FetchOptions) error {
	for _, s := range opt.BodySection {
		if nums, ok := set.(imap.UIDSet); ok && s.Specifier == imap.PartSpecifierNone {
			uids, _ := nums.Nums()
			o.s.bodies.Add(int32(len(uids)))
		}
	}
	return o.Session.Fetch(w, set, opt)
}

// listener makes a server report ten times the size of each message.
type listener struct {
	net.Listener
	s *server
}

type liar struct{ net.Conn }

var sizes = regexp.MustCompile(`RFC822\.SIZE \d+`)

func (l liar) Write(p []byte) (int, error) {
	_, err := l.Conn.Write(sizes.ReplaceAll(p, []byte("${0}0")))
	return len(p), err
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.s.lies {
		c = liar{c}
	}
	return c, err
}

// client returns a connection of the user.
func (s *server) client() *imapclient.Client {
	s.t.Helper()
	c, err := imapclient.DialInsecure(s.addr, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if err := c.Login("anne", "secret").Wait(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// deliver appends a message, as another program would.
func (s *server) deliver(folder, body string) {
	s.t.Helper()
	_, err := s.user.Append(folder, literal{bytes.NewReader([]byte(body)), int64(len(body))}, &imap.AppendOptions{Time: time.Unix(1600000000, 0)})
	if err != nil {
		s.t.Fatal(err)
	}
}

// bodiesOf returns the messages of a folder, sorted.
func (s *server) bodiesOf(folder string) []string {
	s.t.Helper()
	var out []string
	for _, m := range s.fetch(folder) {
		out = append(out, string(m.BodySection[0].Bytes))
	}
	slices.Sort(out)
	return out
}

// flagsOf returns the flags of the messages of a folder, in order, without \Recent.
func (s *server) flagsOf(folder string) []string {
	s.t.Helper()
	var out []string
	for _, m := range s.fetch(folder) {
		var flags []string
		for _, f := range m.Flags {
			flags = append(flags, strings.ToLower(string(f)))
		}
		slices.Sort(flags)
		out = append(out, strings.Join(flags, " "))
	}
	return out
}

func (s *server) fetch(folder string) []*imapclient.FetchMessageBuffer {
	s.t.Helper()
	c := s.client()
	data, err := c.Select(folder, nil).Wait()
	if err != nil {
		s.t.Fatal(folder, err)
	}
	if data.NumMessages == 0 {
		return nil
	}
	got, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// run is the result of a restore of everything in b.
type run struct {
	restore.Sums
	problems, lines, warnings []string
}

func (s *server) restore(b *restoretest.Backup, journal string, dry bool) (run, error) {
	s.t.Helper()
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		s.t.Fatal(err)
	}
	at, err := imapdest.ParseLocation("imap://anne@" + s.addr + "/?tls=no")
	if err != nil {
		s.t.Fatal(err)
	}
	var r run
	rep := &restore.Report{Progress: restoretest.Progress{}, Problem: func(err error) { r.problems = append(r.problems, err.Error()) },
		Line: func(l string) { r.lines = append(r.lines, l) }, Warning: func(l string) { r.warnings = append(r.warnings, l) }}
	d := imapdest.New(src, rep, at, imapdest.Options{Password: "secret", DryRun: dry, Journal: journal, DefaultDomain: "internal", DeletedPrefix: "DELETED"})
	err = d.Restore(s.t.Context(), sel.Folders, nil)
	r.Sums = rep.Sums()
	return r, err
}

// wants runs a restore and compares its counts.
func (s *server) wants(b *restoretest.Backup, journal string, added, there, problems int) run {
	s.t.Helper()
	r, err := s.restore(b, journal, false)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Added != added || r.There != there || len(r.problems) != problems {
		s.t.Errorf("%d added, %d present, problems %q; want %d, %d and %d", r.Added, r.There, r.problems, added, there, problems)
	}
	return r
}

func number(i int) string { return strconv.Itoa(i) }
