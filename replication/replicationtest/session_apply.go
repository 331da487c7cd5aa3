package replicationtest

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

func (s *session) ApplyExpunge(_ context.Context, name, uniqueid string, uids []uint32) error {
	st := s.store
	if err := st.begin("ApplyExpunge", name); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	m := st.mailboxes[name]
	switch {
	case m == nil:
		return fmt.Errorf("%s: %w", name, cyrus.ErrNonexistent)
	case m.Head.UniqueID != uniqueid:
		return fmt.Errorf("%s: %w", name, cyrus.ErrMoved)
	}
	for _, uid := range uids {
		if r := m.Records[uid]; r != nil && !r.Expunged() {
			expunged := *r
			expunged.Flags = append(append([]string(nil), r.Flags...), `\Expunged`)
			m.Records[uid] = &expunged
		}
	}
	return nil
}

// ApplyRename accepts a rename from one user to another. sync_server refuses it, and a 3.12
// client then fails forever (client-behaviour.md 10).
func (s *session) ApplyRename(_ context.Context, r cyrus.Rename) error {
	st := s.store
	if err := st.begin("ApplyRename", r.Old+" "+r.New); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	m := st.mailboxes[r.Old]
	if m == nil {
		return fmt.Errorf("%s: %w", r.Old, cyrus.ErrNonexistent)
	}
	if other := st.mailboxes[r.New]; other != nil && other != m {
		return fmt.Errorf("%s: %w", r.New, cyrus.ErrMoved)
	}
	delete(st.mailboxes, r.Old)
	m.Head.Name, m.Head.Partition = r.New, r.Partition
	m.set("MBOXNAME", r.New)
	m.set("PARTITION", r.Partition)
	if r.UIDValidity != 0 {
		m.Head.UIDValidity = r.UIDValidity
		m.set("UIDVALIDITY", strconv.FormatUint(uint64(r.UIDValidity), 10))
	}
	st.mailboxes[r.New] = m
	return nil
}

func (s *session) ApplyUnmailbox(_ context.Context, name string) error {
	return s.change("ApplyUnmailbox", name, func(st *Store) { delete(st.mailboxes, name) })
}

func (s *session) ApplySeen(_ context.Context, seen cyrus.Seen) error {
	return s.change("ApplySeen", seen.UserID, func(st *Store) {
		put(st.seen, seen.UserID, seen.UniqueID, seen)
	})
}

func (s *session) ApplySub(_ context.Context, userid, mailbox string, subscribe bool) error {
	return s.change("ApplySub", userid+" "+mailbox+" "+strconv.FormatBool(subscribe), func(st *Store) {
		if subscribe {
			put(st.subs, userid, mailbox, true)
		} else {
			delete(st.subs[userid], mailbox)
		}
	})
}

func (s *session) ApplySieve(_ context.Context, script cyrus.Sieve) error {
	return s.change("ApplySieve", script.UserID+" "+script.Filename, func(st *Store) {
		put(st.scripts, script.UserID, script.Filename, script)
	})
}

func (s *session) ApplyUnsieve(_ context.Context, userid, filename string) error {
	return s.change("ApplyUnsieve", userid+" "+filename, func(st *Store) {
		delete(st.scripts[userid], filename)
		if st.active[userid] == filename {
			delete(st.active, userid)
		}
	})
}

func (s *session) ApplyActivateSieve(_ context.Context, userid, filename string) error {
	return s.change("ApplyActivateSieve", userid+" "+filename, func(st *Store) { st.active[userid] = filename })
}

func (s *session) ApplyUnactivateSieve(_ context.Context, userid string) error {
	return s.change("ApplyUnactivateSieve", userid, func(st *Store) { delete(st.active, userid) })
}

func (s *session) ApplyQuota(_ context.Context, q cyrus.Quota) error {
	return s.change("ApplyQuota", q.Root, func(st *Store) { st.quotas[q.Root] = q })
}

func (s *session) ApplyUnquota(_ context.Context, root string) error {
	return s.change("ApplyUnquota", root, func(st *Store) { delete(st.quotas, root) })
}

func (s *session) ApplyAnnotation(_ context.Context, a cyrus.MailboxAnnotation) error {
	return s.change("ApplyAnnotation", a.Mailbox+" "+a.Entry, func(st *Store) {
		st.annotations[annotationKey{a.Mailbox, a.Entry, a.UserID}] = a
	})
}

func (s *session) ApplyUnannotation(_ context.Context, mailbox, entry, userid string) error {
	return s.change("ApplyUnannotation", mailbox+" "+entry, func(st *Store) {
		delete(st.annotations, annotationKey{mailbox, entry, userid})
	})
}

func (s *session) ApplyUnuser(_ context.Context, userid string) error {
	return s.change("ApplyUnuser", userid, func(st *Store) {
		delete(st.seen, userid)
		delete(st.subs, userid)
		delete(st.scripts, userid)
		delete(st.active, userid)
	})
}

// change makes a change that cannot fail by itself.
func (s *session) change(method, subject string, do func(*Store)) error {
	if err := s.store.begin(method, subject); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	do(s.store)
	return nil
}

// put stores a value in a map of maps.
func put[V any](m map[string]map[string]V, outer, inner string, v V) {
	if m[outer] == nil {
		m[outer] = make(map[string]V)
	}
	m[outer][inner] = v
}
