package imapdest_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"backupd/internal/restore"
	"backupd/internal/restore/imapdest"
	"backupd/internal/restore/restoretest"
)

// refusing is a session that makes no folder of one name.
type refusing struct {
	imapserver.Session
	name string
}

func (r refusing) Create(name string, o *imap.CreateOptions) error {
	if name == r.name {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "no such name here"}
	}
	return r.Session.Create(name, o)
}

func serve(t *testing.T) string { return serveRefusing(t, "") }

// serveRefusing is a server that makes no folder of this name.
func serveRefusing(t *testing.T, name string) string {
	mem := imapmemserver.New()
	user := imapmemserver.NewUser("anne", "secret")
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem.AddUser(user)
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return refusing{mem.NewSession(), name}, nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}},
		InsecureAuth: true,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

func TestRestore(t *testing.T) {
	b := restoretest.New(t, "anne")
	b.Box("user.anne").Deliver(restoretest.Mail("one"), 1600000000, `\Seen`, "$Label1")
	b.Boxes[0].Deliver("Subject: no id\r\n\r\n", 1600000001)
	b.Boxes[0].Deliver("Subject: no id\r\n\r\n", 1600000002)
	b.Box("user.anne.Entw&APw-rfe.a^b").Deliver(restoretest.Mail("two"), 1600000003, `\Flagged`)
	b.Sync()
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t)
	at, err := imapdest.ParseLocation("imap://anne@" + addr + "/?tls=no")
	if err != nil {
		t.Fatal(err)
	}
	for turn, added := range []int{4, 4, 0, 0} { // a dry run says what the run behind it does
		rep := restoretest.Report(t)
		d := imapdest.New(src, rep, at, imapdest.Options{Password: "secret", DryRun: turn%2 == 0,
			DefaultDomain: "internal", DeletedPrefix: "DELETED"})
		if err := d.Restore(t.Context(), sel.Folders, nil); err != nil {
			t.Fatal(err)
		}
		if got := rep.Sums(); got.Added != added || got.There != 4-added {
			t.Errorf("turn %d: %+v", turn, got)
		}
	}
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("anne", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"INBOX":        {`1600000000 [$label1 \seen]`, "1600000001 []", "1600000002 []"},
		"Entwürfe/a.b": {`1600000003 [\flagged]`},
	} {
		if _, err := c.Select(name, nil).Wait(); err != nil {
			t.Fatal(name, err)
		}
		msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Flags: true, InternalDate: true}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range msgs {
			var flags []string
			for _, f := range m.Flags {
				flags = append(flags, strings.ToLower(string(f)))
			}
			slices.Sort(flags)
			got = append(got, fmt.Sprint(m.InternalDate.Unix(), " ", flags))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestParseLocation(t *testing.T) {
	for _, s := range []string{"imap://host/", "imap://a:secret@host/", "http://a@host/", "imap://a@host/?x=y", "imaps://a@host/?tls=no"} {
		if l, err := imapdest.ParseLocation(s); err == nil {
			t.Errorf("%s: %+v, want an error", s, l)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password", s)
		}
	}
	l, err := imapdest.ParseLocation("imaps://a%40b@host/In/Here?authuser=adm")
	if err != nil || l.User != "a@b" || l.Addr != "host:993" || l.Folder != "In/Here" || !l.TLS || l.AuthUser != "adm" {
		t.Errorf("%+v, %v", l, err)
	}
}

// A folder that the server does not want is told of, and hinders no other.
func TestFolderThatIsRefused(t *testing.T) {
	b := restoretest.New(t, "anne")
	for i, n := range []string{"user.anne.a", "user.anne.b", "user.anne.c"} {
		b.Box(n).Deliver(restoretest.Mail(n), 1600000000+int64(i))
	}
	b.Sync()
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	at, err := imapdest.ParseLocation("imap://anne@" + serveRefusing(t, "b") + "/?tls=no")
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	rep := &restore.Report{Progress: restoretest.Progress{}, Problem: func(err error) { problems = append(problems, err.Error()) }}
	d := imapdest.New(src, rep, at, imapdest.Options{Password: "secret", DefaultDomain: "internal", DeletedPrefix: "DELETED"})
	if err := d.Restore(t.Context(), sel.Folders, nil); err != nil {
		t.Fatal(err)
	}
	if got := rep.Sums(); got.Added != 2 || got.Folders != 2 || len(problems) != 1 || !strings.Contains(problems[0], "user.anne.b") {
		t.Errorf("%+v, %q", got, problems)
	}
}

// A folder of the name INBOX below the INBOX is another one.
func TestInboxBelowInbox(t *testing.T) {
	b := restoretest.New(t, "anne")
	for i, n := range []string{"user.anne", "user.anne.Inbox"} {
		b.Box(n).Deliver(restoretest.Mail(n), 1600000000+int64(i))
	}
	b.Sync()
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t)
	at, err := imapdest.ParseLocation("imap://anne@" + addr + "/?tls=no")
	if err != nil {
		t.Fatal(err)
	}
	d := imapdest.New(src, restoretest.Report(t), at, imapdest.Options{Password: "secret", DefaultDomain: "internal", DeletedPrefix: "DELETED"})
	if err := d.Restore(t.Context(), sel.Folders, nil); err != nil {
		t.Fatal(err)
	}
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("anne", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"INBOX", "Inbox-94835ea2"} {
		if got, err := c.Select(name, nil).Wait(); err != nil || got.NumMessages != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
