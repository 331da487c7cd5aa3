package partitions_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// clone returns a copy of the mailbox that later changes do not affect. Records are never
// changed in place.
func (m *source) clone() *source {
	c := *m
	c.records, c.bodies, c.extra = slices.Clone(m.records), maps.Clone(m.bodies), slices.Clone(m.extra)
	return &c
}

// live returns the records that are not expunged.
func (m *source) live() []*cyrus.Record {
	return slices.DeleteFunc(slices.Clone(m.records), func(r *cyrus.Record) bool { return r.Expunged() })
}

// differs reports the first difference between the mailbox and a state of the bucket. The state
// may contain the records that the source has expunged, or may have lost them by a sweep.
func (m *source) differs(st history.State) error {
	mb, err := st.Mailbox(m.uniqueid)
	if err != nil {
		return err
	}
	if mb == nil || !mb.Deleted.IsZero() {
		return fmt.Errorf("%s is missing or deleted: %+v", m.name, mb)
	}
	live := m.live()
	if mb.Name != m.name || mb.Live != len(live) || mb.Resync != "" {
		return fmt.Errorf("%s: in the bucket: name %q with %d live records, resync %q; want %d", m.name, mb.Name, mb.Live, mb.Resync, len(live))
	}
	if c := m.crc(); !mb.CRC.Equal(c.Basic, c.Annot) {
		return fmt.Errorf("%s: its CRC is %+v, want %+v", m.name, mb.CRC, c)
	}
	for _, r := range live {
		got, err := st.Record(m.uniqueid, r.UID)
		if err != nil || got == nil {
			return fmt.Errorf("%s uid %d: %v, %w", m.name, r.UID, got, err)
		}
		if a, b := cyrus.AppendJSON(nil, &got.Record), cyrus.AppendJSON(nil, r); !bytes.Equal(a, b) {
			return fmt.Errorf("%s uid %d: %s, want %s", m.name, r.UID, a, b)
		}
	}
	return nil
}

// load returns the newest state in the bucket, without an index, or nil if there is no backup.
func load(t testing.TB, s objstore.Store, path string) *history.Mem {
	t.Helper()
	m, err := history.Load(t.Context(), s, path, history.Moment{})
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkLog checks that the numbers of a backup's commits run from 1 without a hole, that each
// commit names the previous one, and that backup.json exists. It returns the newest number.
func checkLog(t testing.TB, s objstore.Store, path string) uint64 {
	t.Helper()
	var next uint64 = 1
	for i, err := range s.List(t.Context(), history.LogPrefix(path), "") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Key != history.LogKey(path, next) {
			t.Fatalf("the log of %s contains %s instead of commit %d", path, i.Key, next)
		}
		next++
	}
	newest := next - 1
	if newest == 0 {
		return 0
	}
	if _, err := s.Stat(t.Context(), "backups/"+path+"/backup.json"); err != nil {
		t.Errorf("%s has commits but no backup.json: %v", path, err)
	}
	log := history.Log{Store: s, Backup: path}
	for _, err := range log.Commits(t.Context(), 1, newest) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return newest
}

// checkBodies reads the message of every live record from the bucket.
func checkBodies(t testing.TB, s objstore.Store, path string) {
	t.Helper()
	m := load(t, s, path)
	if m == nil {
		return
	}
	defer m.Close()
	objects := history.NewObjects(s, 0)
	for mb, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range m.Records(mb.UniqueID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Expunged == 0 {
				checkReadable(t, m, objects, &r.Record)
			}
		}
	}
}

func checkReadable(t testing.TB, m *history.Mem, o *history.Objects, r *cyrus.Record) {
	t.Helper()
	msg, err := m.Message(r.GUID)
	if err != nil || msg == nil {
		t.Fatalf("message %s: %v, %v", r.GUID, msg, err)
	}
	if msg.Missing {
		return
	}
	body, err := history.OpenMessage(t.Context(), o, msg, m.Places)
	if err != nil {
		t.Fatalf("message %s: %v", r.GUID, err)
	}
	defer body.Close()
	// The reader compares every chunk with its hash.
	var got bytes.Buffer
	if n, err := got.ReadFrom(body); err != nil || n != int64(r.Size) {
		t.Fatalf("message %s: %d of %d bytes, %v", r.GUID, n, r.Size, err)
	}
}

// checkIndex compares the answers of a host from its index with the source.
func (h *host) checkIndex(user string, boxes ...*source) {
	h.t.Helper()
	if err := h.indexDiffers(user, boxes...); err != nil {
		h.t.Error(err)
	}
}

func (h *host) indexDiffers(user string, boxes ...*source) error {
	c := h.client()
	defer c.s.Close()
	there, _, err := c.getUser(user)
	if err != nil {
		return err
	}
	if len(there) != len(boxes) {
		return fmt.Errorf("%s: the index shows %d mailboxes, want %d", user, len(there), len(boxes))
	}
	for _, m := range boxes {
		v, ok := there[m.uniqueid]
		crc := m.crc()
		if !ok || number(v, "SYNC_CRC") != uint64(crc.Basic) || number(v, "SYNC_CRC_ANNOT") != uint64(crc.Annot) {
			return fmt.Errorf("%s: the index shows %v (%v), want CRC %+v", m.name, v, ok, crc)
		}
		got, err := c.full(h.t.Context(), m.name)
		if err != nil {
			return err
		}
		live := m.live()
		if len(got) != len(live) {
			return fmt.Errorf("%s: the index shows %d live records, want %d", m.name, len(got), len(live))
		}
		for _, r := range live {
			if a, b := cyrus.AppendJSON(nil, got[r.UID]), cyrus.AppendJSON(nil, r); !bytes.Equal(a, b) {
				return fmt.Errorf("%s uid %d: the index shows %s, want %s", m.name, r.UID, a, b)
			}
		}
	}
	return nil
}

// full returns the live records of GET FULLMAILBOX.
func (c *client) full(ctx context.Context, name string) (map[uint32]*cyrus.Record, error) {
	_, records, err := c.s.GetFullMailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	out := map[uint32]*cyrus.Record{}
	for r, err := range records {
		if err != nil {
			return nil, err
		}
		if !r.Expunged() {
			out[r.UID] = r
		}
	}
	return out, nil
}

// copyStore copies the objects of a store to another one. keep selects the keys; nil = all.
func copyStore(t testing.TB, from objstore.Store, to objstore.Store, keep func(key string) bool) {
	t.Helper()
	for i, err := range from.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if keep != nil && !keep(i.Key) {
			continue
		}
		o, err := from.Get(t.Context(), i.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(o)
		if err := errors.Join(err, o.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Put(t.Context(), i.Key, bytes.NewReader(b.Bytes()), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// objects returns the keys of a store below a prefix.
func objects(t testing.TB, s objstore.Store, prefix string) (keys []string) {
	t.Helper()
	for i, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}
	return keys
}

// items returns the lines of a GET USER answer except mailboxes.
func (c *client) items(user string) []string {
	c.t.Helper()
	_, lines, err := c.getUser(user)
	if err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "MAILBOX ") })
}

func quotaOf(root string, limit uint64) cyrus.Quota {
	return cyrus.Quota{Root: root, Fields: []dlist.Pair{dlist.P("ROOT", dlist.S(root)), dlist.P("LIMIT", dlist.N(limit))}}
}

func seenOf(user, uniqueid, uids string) cyrus.Seen {
	return cyrus.Seen{UserID: user, UniqueID: uniqueid, Fields: []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(uniqueid)), dlist.P("LASTREAD", dlist.N(1)), dlist.P("SEENUIDS", dlist.S(uids)),
	}}
}

func sha1Of(s string) [20]byte { return sha1.Sum([]byte(s)) }
