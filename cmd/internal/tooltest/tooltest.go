// Package tooltest makes repositories in memory for tests of the tools, through sessions like
// backupd, with a test clock.
package tooltest

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// World is a backup host with partitions in memory.
type World struct {
	t      *testing.T
	Now    time.Time     // of the host and of the stores
	Ahead  time.Duration // of the stores' clocks
	Stores []*memstore.Store
	Parts  []repository.Config
	Set    *partitions.Set
	Dir    string // for files of the test; the index is in it
	conns  int
}

// New makes a host with one partition for each name.
func New(t *testing.T, names ...string) *World {
	t.Helper()
	w := &World{t: t, Now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Dir: t.TempDir()}
	clock := func() time.Time { return w.Now }
	for _, n := range names {
		s := memstore.New(func() time.Time { return w.Now.Add(w.Ahead) })
		w.Stores = append(w.Stores, s)
		w.Parts = append(w.Parts, repository.Config{Name: n, Location: "memory:" + n, Store: s})
	}
	x, err := index.Open(filepath.Join(w.Dir, "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Set, err = partitions.Open(partitions.Options{
		Partitions: w.Parts, Index: x, Host: "backup1", Software: "test", Now: clock,
		OutageWait: 10 * time.Second, PatientWait: 10 * time.Second, NoCheckpoints: true, InlineLimit: 4 << 10, ClockPause: time.Nanosecond, ContactPause: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Set.Close(); err != nil {
			t.Error(err)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Bucket returns the Bucket of the tools, with these lines in imapd.conf.
func (w *World) Bucket(lines string) *cli.Bucket {
	w.t.Helper()
	path := filepath.Join(w.Dir, "imapd.conf")
	text := "configdirectory: " + w.Dir + "\nbackup_control_socket: " + filepath.Join(w.Dir, "control") +
		"\nbackup_index_path: " + filepath.Join(w.Dir, "index") + "\n" + lines
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	conf, err := imapconf.Load(path, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return cli.NewBucket(conf, w.Parts)
}

// Mailbox is a mailbox of the mail server.
type Mailbox struct {
	Name, UniqueID string
	Fields         []dlist.Pair // additional ones
	LastUID        uint32
	ModSeq         uint64
	Records        []*cyrus.Record
	bodies         map[cyrus.GUID][]byte
	sent           map[cyrus.GUID]bool
}

// NewMailbox returns an empty mailbox with a uniqueid derived from its name.
func NewMailbox(name string) *Mailbox {
	return &Mailbox{Name: name, UniqueID: fmt.Sprintf("%x", sha1.Sum([]byte(name)))[:24], ModSeq: 1,
		bodies: map[cyrus.GUID][]byte{}, sent: map[cyrus.GUID]bool{}}
}

// Mail returns a message of about n bytes.
func Mail(subject, from string, n int) []byte {
	b := fmt.Appendf(nil, "From: %s\r\nTo: anne@example.org\r\nSubject: %s\r\n\r\n", from, subject)
	x := uint32(len(subject))*2654435761 + 1
	for len(b) < n {
		x = x*1664525 + 1013904223
		b = fmt.Appendf(b, "%08x words of a line that repeats itself\r\n", x)
	}
	return b
}

// Deliver appends a message. Date is its internaldate.
func (m *Mailbox) Deliver(body []byte, date time.Time) *cyrus.Record {
	m.LastUID++
	m.ModSeq++
	r := &cyrus.Record{UID: m.LastUID, ModSeq: m.ModSeq, LastUpdated: date.Unix(), InternalDate: date.Unix(),
		Size: uint32(len(body)), GUID: sha1.Sum(body), Flags: []string{}}
	m.Records = append(m.Records, r)
	m.bodies[r.GUID] = body
	delete(m.sent, r.GUID) // it may have been erased since
	return r
}

// Flag sets the flags of a message.
func (m *Mailbox) Flag(uid uint32, flags ...string) {
	m.ModSeq++
	for i, r := range m.Records {
		if r.UID == uid {
			n := *r
			n.ModSeq, n.Flags = m.ModSeq, flags
			m.Records[i] = &n
		}
	}
}

// Expunge removes a message, like a mail server after cyr_expire.
func (m *Mailbox) Expunge(uid uint32) {
	m.ModSeq++
	m.Records = slices.DeleteFunc(m.Records, func(r *cyrus.Record) bool { return r.UID == uid })
}

// Session opens a session of the host.
func (w *World) Session() *session.Session {
	w.conns++
	return session.New(w.Set, session.Who{Connection: fmt.Sprintf("c%d", w.conns), Client: "repl [192.0.2.1]"})
}

// Sync sends whole mailboxes in a new session, a minute after the previous change.
func (w *World) Sync(boxes ...*Mailbox) {
	w.t.Helper()
	w.Now = w.Now.Add(time.Minute)
	s := w.Session()
	defer s.Close()
	for _, m := range boxes {
		for _, r := range m.Records {
			if m.sent[r.GUID] {
				continue
			}
			body := m.bodies[r.GUID]
			if err := s.Message(w.t.Context(), "default", r.GUID, int64(len(body)), bytes.NewReader(body)); err != nil {
				w.t.Fatal(err)
			}
			m.sent[r.GUID] = true
		}
		if err := s.ApplyMailbox(w.t.Context(), m.head(), cyrus.Since{}, all(m.Records)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Do runs commands in a new session, a minute after the previous change.
func (w *World) Do(fn func(*session.Session) error) {
	w.t.Helper()
	w.Now = w.Now.Add(time.Minute)
	s := w.Session()
	defer s.Close()
	if err := fn(s); err != nil {
		w.t.Fatal(err)
	}
}

func all(records []*cyrus.Record) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *Mailbox) head() *cyrus.Mailbox {
	c := cyrus.NewCRC()
	for _, r := range m.Records {
		c.Add(r)
	}
	f := []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(m.UniqueID)), dlist.P("MBOXNAME", dlist.S(m.Name)),
		dlist.P("SYNC_CRC", dlist.N(uint64(c.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(c.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(m.LastUID))), dlist.P("HIGHESTMODSEQ", dlist.N(m.ModSeq)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(1700000000)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)),
		dlist.P("UIDVALIDITY", dlist.N(1700000000)), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("anne\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
	}
	mb, _, err := cyrus.ParseMailbox(append(f, m.Fields...))
	if err != nil {
		panic(err)
	}
	return mb
}

// Keys returns the keys of the first partition with a prefix.
func (w *World) Keys(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, err := range w.Stores[0].List(w.t.Context(), prefix, "") {
			if err != nil {
				w.t.Fatal(err)
			}
			if !yield(i.Key) {
				return
			}
		}
	}
}

// Damage flips a bit in the middle of an object of the first partition.
func (w *World) Damage(key string) {
	w.t.Helper()
	o, err := w.Stores[0].Get(w.t.Context(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err != nil {
		w.t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if _, err := w.Stores[0].Put(w.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}
