package replicationtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication"
)

// Store is shared by all connections of a test. Make one with NewStore; the zero value is
// not usable.
type Store struct {
	// Fail, if not nil, is called before each call of a Session with the method's name and
	// its subject. The call returns Fail's error. Set it before the first connection, or
	// within the call of another Fail.
	Fail func(method, subject string) error

	mu          sync.Mutex
	mailboxes   map[string]*Mailbox // by name
	messages    map[cyrus.GUID][]byte
	quotas      map[string]cyrus.Quota // by root
	seen        map[string]map[string]cyrus.Seen
	subs        map[string]map[string]bool
	scripts     map[string]map[string]cyrus.Sieve
	active      map[string]string // userid → NAME.bc
	annotations map[annotationKey]cyrus.MailboxAnnotation
	faults      []string
	calls       []string
}

// Mailbox is one mailbox of a Store.
type Mailbox struct {
	Head    *cyrus.Mailbox
	Records map[uint32]*cyrus.Record // by uid
}

type annotationKey struct{ mailbox, entry, userid string }

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{
		mailboxes:   make(map[string]*Mailbox),
		messages:    make(map[cyrus.GUID][]byte),
		quotas:      make(map[string]cyrus.Quota),
		seen:        make(map[string]map[string]cyrus.Seen),
		subs:        make(map[string]map[string]bool),
		scripts:     make(map[string]map[string]cyrus.Sieve),
		active:      make(map[string]string),
		annotations: make(map[annotationKey]cyrus.MailboxAnnotation),
	}
}

// NewSession implements replication.Backend.
func (st *Store) NewSession(_ context.Context, peer replication.Peer) (replication.Session, error) {
	if err := st.begin("NewSession", peer.User); err != nil {
		return nil, err
	}
	return &session{store: st, staged: make(map[cyrus.GUID][]byte)}, nil
}

// begin records a call and asks Fail.
func (st *Store) begin(method, subject string) error {
	st.mu.Lock()
	st.calls = append(st.calls, method+" "+subject)
	st.mu.Unlock()
	if st.Fail == nil {
		return nil
	}
	return st.Fail(method, subject)
}

// Calls returns the calls of Sessions so far, each as "Method subject".
func (st *Store) Calls() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]string(nil), st.calls...)
}

// Faults returns errors that a correct client or a correct server would not have caused:
// checksums that differ, messages that were never sent.
func (st *Store) Faults() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]string(nil), st.faults...)
}

func (st *Store) fault(format string, args ...any) {
	st.faults = append(st.faults, fmt.Sprintf(format, args...))
}

// Lookup returns the mailbox with this name, or nil. The caller must not use it while
// connections are served.
func (st *Store) Lookup(name string) *Mailbox {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.mailboxes[name]
}

// Messages returns the number of stored messages.
func (st *Store) Messages() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.messages)
}

// Fields returns the reported fields of the mailbox: the received fields except
// FOLDERMODSEQ and RACLMODSEQ, which could raise the client's own (design.md, promise 9).
// An intermediate mailbox gets zeros for fields that an old client requires.
func (m *Mailbox) Fields() []dlist.Pair {
	var out []dlist.Pair
	for _, p := range m.Head.Fields {
		if p.Key != "FOLDERMODSEQ" && p.Key != "RACLMODSEQ" {
			out = append(out, p)
		}
	}
	if !m.Head.Intermediate() {
		return out
	}
	v := dlist.KV(out...)
	for _, key := range []string{"LAST_UID", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN", "UIDVALIDITY"} {
		if _, ok := v.Get(key); !ok {
			out = append(out, dlist.P(key, dlist.N(0)))
		}
	}
	for _, key := range []string{"PARTITION", "ACL", "OPTIONS"} {
		if _, ok := v.Get(key); !ok {
			out = append(out, dlist.P(key, dlist.S("")))
		}
	}
	return out
}

// crc recomputes the checksums over the records.
func (m *Mailbox) crc() cyrus.CRC {
	crc := cyrus.NewCRC()
	for _, r := range m.Records {
		crc.Add(r)
	}
	return crc
}

// set replaces a field of the head or adds it.
func (m *Mailbox) set(key, value string) {
	for i := range m.Head.Fields {
		if m.Head.Fields[i].Key == key {
			m.Head.Fields[i].Value = dlist.S(value)
			return
		}
	}
	m.Head.Fields = append(m.Head.Fields, dlist.P(key, dlist.S(value)))
}
