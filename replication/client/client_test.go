package client

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

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
	// A flag, a new message, and a copy of a message in the other mailbox.
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

// The port of an IMAP server is a common mistake.
func TestIMAPPort(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		_, _ = io.WriteString(theirs, "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID] mail.example.com Cyrus IMAP 3.6.1 server ready\r\n")
	}()
	if _, err := New(t.Context(), ours, Options{}); err == nil || !strings.Contains(err.Error(), "this is an IMAP server") {
		t.Error(err)
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
		var r *RefusedError
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
	if !errors.Is(err, cyrus.ErrBadParameters) { // this server requires every body
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
