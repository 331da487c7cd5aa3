package partitions_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// host is a backup host: an index and a set over stores that hosts may share.
type host struct {
	t     *testing.T
	dir   string
	opt   partitions.Options
	index *index.Index
	set   *partitions.Set

	beforeCommit func()                          // called before each commit of the index
	onRead       atomic.Pointer[func(index.Key)] // called for each read of the index
}

// newStore returns an S3-like store in memory.
func newStore() *memstore.Store { return memstore.New(time.Now) }

func newHost(t *testing.T, stores ...objstore.Store) *host {
	t.Helper()
	return newHostWith(t, nil, stores...)
}

// shortWait configures a host that refuses commands after a short time.
func shortWait(o *partitions.Options) {
	o.OutageWait, o.PatientWait = 50*time.Millisecond, 100*time.Millisecond
}

// newHostWith is newHost with options.
func newHostWith(t *testing.T, set func(*partitions.Options), stores ...objstore.Store) *host {
	t.Helper()
	h := &host{t: t, dir: filepath.Join(t.TempDir(), "index"), opt: partitions.Options{
		OutageWait: 10 * time.Second, PatientWait: 10 * time.Second, Host: "host", Software: "test", ContactPause: time.Hour,
	}}
	for i, s := range stores {
		h.opt.Partitions = append(h.opt.Partitions, repository.Config{Name: fmt.Sprintf("p%d", i), Location: "memory", Store: s})
	}
	if set != nil {
		set(&h.opt)
	}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *host) start() {
	h.t.Helper()
	x, err := index.Open(h.dir, index.Options{OnCommit: h.onCommit, OnRead: h.read, FilterMemory: 1 << 20})
	if err != nil {
		h.t.Fatal(err)
	}
	h.index = x
	h.opt.Index = x
	if h.set, err = partitions.Open(h.opt); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) onCommit(commit func() error) error {
	if h.beforeCommit != nil {
		h.beforeCommit()
	}
	return commit()
}

func (h *host) read(k index.Key) {
	if f := h.onRead.Load(); f != nil {
		(*f)(k)
	}
}

func (h *host) stop() {
	if h.set == nil {
		return
	}
	if err := errors.Join(h.set.Close(), h.index.Close()); err != nil {
		h.t.Error(err)
	}
	h.set = nil
}

// client acts as sync_client on a session of a host.
type client struct {
	t *testing.T
	s *session.Session
}

func (h *host) client() *client {
	c := &client{h.t, session.New(h.set, session.Who{Connection: "c1", Client: "repl [127.0.0.1]"})}
	h.t.Cleanup(func() { c.s.Close() })
	return c
}

// source is a mailbox of the mail server.
type source struct {
	name, uniqueid string
	validity       uint32
	lastUID        uint32
	modseq         uint64
	records        []*cyrus.Record
	bodies         map[cyrus.GUID][]byte
	extra          []dlist.Pair
	deletedModSeq  uint64 // highest of the removed records
	wrongCRC       uint32 // error of the source's own CRC, by XOR
}

func newSource(name string) *source {
	return &source{name: name, uniqueid: fmt.Sprintf("%x", sha1.Sum([]byte(name)))[:24], validity: 1700000000, modseq: 1, bodies: map[cyrus.GUID][]byte{}}
}

// deliver appends a message.
func (m *source) deliver(body []byte) *cyrus.Record {
	m.lastUID++
	m.modseq++
	r := &cyrus.Record{
		UID: m.lastUID, ModSeq: m.modseq, LastUpdated: 1700000000 + int64(m.modseq), InternalDate: 1690000000,
		Size: uint32(len(body)), GUID: sha1.Sum(body), Flags: []string{},
		Annotations: []cyrus.Annotation{{Entry: "/vendor/cmu/cyrus-imapd/createdmodseq", Value: ptr(fmt.Sprint(m.modseq))}},
	}
	m.records = append(m.records, r)
	m.bodies[r.GUID] = body
	return r
}

func ptr(s string) *string { return &s }

// flag changes the flags of a message.
func (m *source) flag(r *cyrus.Record, flags ...string) {
	m.modseq++
	n := *r
	n.ModSeq, n.LastUpdated, n.Flags = m.modseq, r.LastUpdated+1, flags
	m.records[slices.Index(m.records, r)] = &n
}

func (m *source) crc() cyrus.CRC {
	c := cyrus.NewCRC()
	for _, r := range m.records {
		c.Add(r)
	}
	c.Basic ^= m.wrongCRC
	return c
}

func (m *source) head() *cyrus.Mailbox {
	c := m.crc()
	f := []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(m.uniqueid)), dlist.P("MBOXNAME", dlist.S(m.name)),
		dlist.P("SYNC_CRC", dlist.N(uint64(c.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(c.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(m.lastUID))), dlist.P("HIGHESTMODSEQ", dlist.N(m.modseq)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(1700000000)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)),
		dlist.P("UIDVALIDITY", dlist.N(uint64(m.validity))), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("anne\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
		dlist.P("CREATEDMODSEQ", dlist.N(1)), dlist.P("FOLDERMODSEQ", dlist.N(9)),
	}
	mb, _, err := cyrus.ParseMailbox(append(f, m.extra...))
	if err != nil {
		panic(err)
	}
	return mb
}

// state is the server's mailboxes in a GET answer, by uniqueid.
type state map[string]dlist.Value

func (c *client) getUser(user string) (state, []string, error) {
	st, lines := state{}, []string{}
	err := c.s.GetUser(c.t.Context(), user, func(key string, v dlist.Value) error {
		lines = append(lines, key+" "+string(dlist.Append(nil, v, false)))
		return st.add(key, v)
	})
	return st, lines, err
}

func (c *client) getMailboxes(boxes ...*source) (state, error) {
	st, names := state{}, []string{}
	for _, m := range boxes {
		names = append(names, m.name)
	}
	return st, c.s.GetMailboxes(c.t.Context(), names, st.add)
}

// add stores a line of an answer.
func (st state) add(key string, v dlist.Value) error {
	if key != "MAILBOX" {
		return nil
	}
	id, _, err := v.Text("UNIQUEID")
	v.Pairs = slices.Clone(v.Pairs) // valid during the call
	st[id] = v
	return err
}

// empty reports whether a mailbox is reported without anything that a client could use.
func (st state) empty(m *source) bool {
	v, ok := st[m.uniqueid]
	for _, key := range []string{"LAST_UID", "HIGHESTMODSEQ", "UIDVALIDITY", "RECENTUID", "SYNC_CRC"} {
		ok = ok && number(v, key) == 0
	}
	return ok
}

// sync updates mailboxes of a user as sync_client -u does, and returns the number of APPLY
// commands.
func (c *client) sync(user string, boxes ...*source) (applies int, err error) {
	there, _, err := c.getUser(user)
	if err != nil {
		return 0, err
	}
	return c.updateAll(there, boxes...)
}

// updateAll sends the differences from a GET answer.
func (c *client) updateAll(there state, boxes ...*source) (applies int, err error) {
	ctx := c.t.Context()
	missing, err := c.reserve(ctx, there, boxes)
	if err != nil {
		return 0, err
	}
	sent := map[cyrus.GUID]bool{}
	for _, m := range boxes {
		n, err := c.update(ctx, m, there, missing, sent)
		if err != nil {
			return applies, fmt.Errorf("%s: %w", m.name, err)
		}
		applies += n
	}
	return applies, nil
}

func number(v dlist.Value, key string) uint64 {
	n, _, err := v.Num64(key)
	if err != nil {
		panic(err)
	}
	return n
}

// reserve asks which messages to upload. It returns nil without asking if the server reported
// no mailbox.
func (c *client) reserve(ctx context.Context, there state, boxes []*source) (map[cyrus.GUID]bool, error) {
	if len(there) == 0 {
		return nil, nil
	}
	var names []string
	var guids []cyrus.GUID
	for _, m := range boxes {
		v, ok := there[m.uniqueid]
		if ok {
			names = append(names, m.name)
		}
		for _, r := range m.records {
			if !ok || uint64(r.UID) > number(v, "LAST_UID") {
				guids = append(guids, r.GUID)
			}
		}
	}
	if len(names) == 0 {
		names = []string{boxes[0].name}
	}
	missing := map[cyrus.GUID]bool{}
	if len(guids) == 0 {
		return missing, nil
	}
	list, err := c.s.Reserve(ctx, "default", names, guids)
	for _, g := range list {
		missing[g] = true
	}
	return missing, err
}

func (c *client) update(ctx context.Context, m *source, there state, missing, sent map[cyrus.GUID]bool) (applies int, err error) {
	v, known := there[m.uniqueid]
	since := cyrus.Since{}
	if known && number(v, "HIGHESTMODSEQ") == 0 { // reported as empty: the client sends everything
		known = false
	}
	if known {
		crc := m.crc()
		if number(v, "HIGHESTMODSEQ") == m.modseq && number(v, "LAST_UID") == uint64(m.lastUID) &&
			uint32(number(v, "SYNC_CRC")) == crc.Basic && uint32(number(v, "SYNC_CRC_ANNOT")) == crc.Annot {
			return 0, nil
		}
		since = cyrus.Since{Set: true, ModSeq: number(v, "HIGHESTMODSEQ"), CRC: uint32(number(v, "SYNC_CRC")), CRCAnnot: uint32(number(v, "SYNC_CRC_ANNOT"))}
	}
	var send []*cyrus.Record
	for _, r := range m.records {
		if r.ModSeq > since.ModSeq {
			send = append(send, r)
		}
		fresh := !known || uint64(r.UID) > number(v, "LAST_UID")
		if fresh && !sent[r.GUID] && (missing == nil || missing[r.GUID]) {
			if err := c.upload(ctx, m, r); err != nil {
				return applies, err
			}
			sent[r.GUID] = true
			applies++
		}
	}
	applies++
	return applies, c.s.ApplyMailbox(ctx, m.head(), since, seq(send))
}

func (c *client) upload(ctx context.Context, m *source, r *cyrus.Record) error {
	body, ok := m.bodies[r.GUID]
	if !ok {
		return c.s.MessageUnreadable(ctx)
	}
	return c.s.Message(ctx, "default", r.GUID, int64(len(body)), bytes.NewReader(body))
}

func seq(records []*cyrus.Record) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (c *client) mustSync(user string, boxes ...*source) int {
	c.t.Helper()
	n, err := c.sync(user, boxes...)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// expectSame checks that another sync, on a new connection, sends nothing.
func (h *host) expectSame(user string, boxes ...*source) {
	h.t.Helper()
	c := h.client()
	defer c.s.Close()
	if n := c.mustSync(user, boxes...); n != 0 {
		h.t.Errorf("a sync of the unchanged user sent %d commands, want none", n)
	}
}

// checkBucket compares the content of the bucket with the source, without an index: every
// record, and the bytes of every live message.
func checkBucket(t *testing.T, s objstore.Store, path string, boxes ...*source) *history.Mem {
	t.Helper()
	m, err := history.Load(t.Context(), s, path, history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	objects := history.NewObjects(s, 0)
	for _, box := range boxes {
		st, err := m.Mailbox(box.uniqueid)
		if err != nil || st == nil {
			t.Fatalf("mailbox %s in the bucket: %v, %v", box.name, st, err)
		}
		if st.Name != box.name || !st.Deleted.IsZero() || st.Live != len(box.records) {
			t.Errorf("%s: in the bucket it is %q, deleted %v, with %d live records, want %d", box.name, st.Name, st.Deleted, st.Live, len(box.records))
		}
		for _, r := range box.records {
			got, err := m.Record(box.uniqueid, r.UID)
			if err != nil || got == nil {
				t.Fatalf("%s uid %d: %v, %v", box.name, r.UID, got, err)
			}
			if a, b := cyrus.AppendJSON(nil, &got.Record), cyrus.AppendJSON(nil, r); !bytes.Equal(a, b) {
				t.Errorf("%s uid %d:\n in the bucket %s\n at the source %s", box.name, r.UID, a, b)
			}
			checkBody(t, m, objects, r.GUID, box.bodies[r.GUID])
		}
	}
	return m
}

func checkBody(t *testing.T, m *history.Mem, o *history.Objects, g cyrus.GUID, want []byte) {
	t.Helper()
	if want == nil {
		return
	}
	msg, err := m.Message(g)
	if err != nil || msg == nil {
		t.Fatalf("message %s: %v, %v", g, msg, err)
	}
	body, err := history.OpenMessage(t.Context(), o, msg, m.Places)
	if err != nil {
		t.Fatalf("message %s: %v", g, err)
	}
	defer body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil {
		t.Fatalf("message %s: %v", g, err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the bytes of message %s in the bucket differ", g)
	}
}

// mail returns a message of about n bytes that compresses like mail.
func mail(seed, n int) []byte {
	b := fmt.Appendf(nil, "From: a@example.org\r\nSubject: message %d\r\n\r\n", seed)
	x := uint32(seed)*2654435761 + 1
	for len(b) < n {
		x = x*1664525 + 1013904223
		b = fmt.Appendf(b, "%08x words of a line that repeats itself\r\n", x)
	}
	return b
}

// counted counts the requests to a store.
func counted(s objstore.Store) (objstore.Store, *observe.Counter) {
	c := new(observe.Counter)
	return observe.New(s, c.Hooks()), c
}

// sync runs sync_client on a new connection.
func (h *host) sync(user string, boxes ...*source) {
	h.t.Helper()
	c := h.client()
	defer c.s.Close()
	c.mustSync(user, boxes...)
}
