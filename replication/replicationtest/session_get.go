package replicationtest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

type emit = func(string, dlist.Value) error

func (s *session) GetUser(_ context.Context, userid string, emit emit) error {
	st := s.store
	if err := st.begin("GetUser", userid); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(st.mailboxes)) {
		if owner, _ := cyrus.Owner(name, "", "DELETED"); owner == userid {
			if err := emit("MAILBOX", dlist.KV(st.mailboxes[name].Fields()...)); err != nil {
				return err
			}
		}
	}
	for _, root := range slices.Sorted(maps.Keys(st.quotas)) {
		if owner, _ := cyrus.Owner(root, "", "DELETED"); owner == userid {
			if err := emit("QUOTA", dlist.KV(st.quotas[root].Fields...)); err != nil {
				return err
			}
		}
	}
	return st.meta(userid, emit)
}

func (s *session) GetMeta(_ context.Context, userid string, emit emit) error {
	if err := s.store.begin("GetMeta", userid); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.meta(userid, emit)
}

func (st *Store) meta(userid string, emit emit) error {
	for _, id := range slices.Sorted(maps.Keys(st.seen[userid])) {
		if err := emit("SEEN", dlist.KV(st.seen[userid][id].Fields...)); err != nil {
			return err
		}
	}
	if names := slices.Sorted(maps.Keys(st.subs[userid])); len(names) > 0 {
		items := make([]dlist.Value, len(names))
		for i, n := range names {
			items[i] = dlist.S(n)
		}
		if err := emit("LSUB", dlist.L(items...)); err != nil {
			return err
		}
	}
	return st.sieve(userid, emit)
}

// sieve reports the scripts and, if one is active, its compiled form, in the way that the
// client lists them itself (replication-protocol.md 10.2, step 8).
func (st *Store) sieve(userid string, emit emit) error {
	for _, name := range slices.Sorted(maps.Keys(st.scripts[userid])) {
		script := st.scripts[userid][name]
		sum := sha1.Sum([]byte(script.Content))
		err := emit("SIEVE", dlist.KV(
			dlist.P("FILENAME", dlist.S(name)),
			dlist.P("LAST_UPDATE", dlist.N(uint64(script.LastUpdate))),
			dlist.P("GUID", dlist.S(hex.EncodeToString(sum[:]))),
			dlist.P("ISACTIVE", dlist.N(0))))
		if err != nil {
			return err
		}
	}
	active, ok := st.active[userid]
	if !ok {
		return nil
	}
	return emit("SIEVE", dlist.KV(
		dlist.P("FILENAME", dlist.S(active)),
		dlist.P("LAST_UPDATE", dlist.N(0)),
		dlist.P("GUID", dlist.S(strings.Repeat("0", 40))),
		dlist.P("ISACTIVE", dlist.N(1))))
}

func (s *session) GetMailboxes(_ context.Context, names []string, emit emit) error {
	if err := s.store.begin("GetMailboxes", strings.Join(names, ",")); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, name := range names {
		if m := s.store.mailboxes[name]; m != nil {
			if err := emit("MAILBOX", dlist.KV(m.Fields()...)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) GetUniqueIDs(_ context.Context, ids []string, emit emit) error {
	if err := s.store.begin("GetUniqueIDs", strings.Join(ids, ",")); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.store.mailboxes)) {
		if m := s.store.mailboxes[name]; slices.Contains(ids, m.Head.UniqueID) {
			if err := emit("MAILBOX", dlist.KV(m.Fields()...)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) GetFullMailbox(_ context.Context, name string) ([]dlist.Pair, iter.Seq2[*cyrus.Record, error], error) {
	if err := s.store.begin("GetFullMailbox", name); err != nil {
		return nil, nil, err
	}
	m := s.store.Lookup(name)
	if m == nil {
		return nil, nil, fmt.Errorf("%s: %w", name, cyrus.ErrNonexistent)
	}
	return m.Fields(), func(yield func(*cyrus.Record, error) bool) {
		for _, uid := range slices.Sorted(maps.Keys(m.Records)) {
			if !yield(m.Records[uid], nil) {
				return
			}
		}
	}, nil
}

func (s *session) GetQuota(_ context.Context, root string, emit emit) error {
	if err := s.store.begin("GetQuota", root); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	q, ok := s.store.quotas[root]
	if !ok {
		return fmt.Errorf("quota root %s: %w", root, cyrus.ErrNonexistent)
	}
	return emit("QUOTA", dlist.KV(q.Fields...))
}

func (s *session) GetAnnotation(_ context.Context, mailbox string, emit emit) error {
	if err := s.store.begin("GetAnnotation", mailbox); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for key, a := range s.store.annotations {
		if key.mailbox == mailbox {
			if err := emit("ANNOTATION", a.DList()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) GetFetch(_ context.Context, f cyrus.Fetch) (int64, io.ReadCloser, error) {
	if err := s.store.begin("GetFetch", f.GUID.String()); err != nil {
		return 0, nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	body, ok := s.store.messages[f.GUID]
	if !ok {
		return 0, nil, fmt.Errorf("message %s: %w", f.GUID, cyrus.ErrNonexistent)
	}
	return int64(len(body)), io.NopCloser(bytes.NewReader(body)), nil
}

func (s *session) GetFetchSieve(_ context.Context, userid, filename string, emit emit) error {
	if err := s.store.begin("GetFetchSieve", filename); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	script, ok := s.store.scripts[userid][filename]
	if !ok {
		return fmt.Errorf("script %s of %s: %w", filename, userid, cyrus.ErrNonexistent)
	}
	return emit("SIEVE", script.DList())
}
