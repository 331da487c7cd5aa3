package replicationtest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// session is one connection's view of a Store.
type session struct {
	store      *Store
	staged     map[cyrus.GUID][]byte
	unreadable bool // the client sent NIL for a file in this unit of work
	force      bool
}

func (s *session) Reserve(_ context.Context, _ string, names []string, guids []cyrus.GUID) ([]cyrus.GUID, error) {
	if err := s.store.begin("Reserve", strconv.Itoa(len(guids))); err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var missing []cyrus.GUID
	for _, g := range guids {
		if _, held := s.store.messages[g]; held {
			continue
		}
		if _, staged := s.staged[g]; !staged {
			missing = append(missing, g)
		}
	}
	return missing, nil
}

func (s *session) Message(_ context.Context, _ string, guid cyrus.GUID, size int64, body io.Reader) error {
	if err := s.store.begin("Message", guid.String()); err != nil {
		return err
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, body)
	if err != nil {
		return fmt.Errorf("read message %s: %w", guid, err)
	}
	if n != size || cyrus.GUID(sha1.Sum(buf.Bytes())) != guid {
		return fmt.Errorf("message %s: %w: other content", guid, cyrus.ErrBadParameters)
	}
	s.staged[guid] = buf.Bytes()
	return nil
}

func (s *session) MessageUnreadable(context.Context) error {
	s.unreadable = true
	return s.store.begin("MessageUnreadable", "")
}

func (s *session) ApplyForce(context.Context) error {
	s.force = true
	return s.store.begin("ApplyForce", "")
}

func (s *session) ApplyMailbox(_ context.Context, mb *cyrus.Mailbox, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	if err := s.store.begin("ApplyMailbox", mb.Name); err != nil {
		return err
	}
	s.store.mu.Lock()
	old := s.store.mailboxes[mb.Name]
	s.store.mu.Unlock()
	if err := s.check(old, mb, since); err != nil {
		return err
	}
	var sent []*cyrus.Record
	for r, err := range records {
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		sent = append(sent, r.Clone())
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.commit(old, mb, sent)
}

// check compares the client's assumptions with the stored state.
func (s *session) check(old *Mailbox, mb *cyrus.Mailbox, since cyrus.Since) error {
	if !since.Set || s.force {
		return nil
	}
	if old == nil || old.Head.HighestModSeq != since.ModSeq {
		return fmt.Errorf("%s: %w", mb.Name, cyrus.ErrSyncChanged)
	}
	crc := cyrus.CRC{Basic: old.Head.SyncCRC, Annot: old.Head.SyncCRCAnnot, AnnotPadded: old.Head.SyncCRCAnnot}
	if !crc.Equal(since.CRC, since.CRCAnnot) {
		return fmt.Errorf("%s: checksum: %w", mb.Name, cyrus.ErrSyncChanged)
	}
	return nil
}

// commit stores the whole change or nothing.
func (s *session) commit(old *Mailbox, mb *cyrus.Mailbox, sent []*cyrus.Record) error {
	next := &Mailbox{Head: mb, Records: make(map[uint32]*cyrus.Record)}
	if old != nil && old.Head.UniqueID == mb.UniqueID {
		for uid, r := range old.Records {
			next.Records[uid] = r
		}
	}
	for _, r := range sent {
		next.Records[r.UID] = r
		if r.Expunged() {
			continue
		}
		body, staged := s.staged[r.GUID]
		_, held := s.store.messages[r.GUID]
		switch {
		case staged:
			s.store.messages[r.GUID] = body
		case !held && !s.unreadable:
			s.store.fault("%s uid %d: message %s was never sent", mb.Name, r.UID, r.GUID)
			return fmt.Errorf("%s uid %d: no message %s", mb.Name, r.UID, r.GUID)
		}
	}
	if !mb.Intermediate() && !next.crc().Equal(mb.SyncCRC, mb.SyncCRCAnnot) {
		s.store.fault("%s: checksum differs: %+v, client says %d %d", mb.Name, next.crc(), mb.SyncCRC, mb.SyncCRCAnnot)
	}
	for name, m := range s.store.mailboxes {
		if m.Head.UniqueID == mb.UniqueID {
			delete(s.store.mailboxes, name)
		}
	}
	s.store.mailboxes[mb.Name] = next
	return nil
}

func (s *session) Restart(context.Context) {
	// Restart cannot fail, so an error in recording the call is ignored.
	_ = s.store.begin("Restart", "")
	s.staged = make(map[cyrus.GUID][]byte)
	s.unreadable = false
}

func (s *session) Close() error {
	s.staged = nil
	return s.store.begin("Close", "")
}
