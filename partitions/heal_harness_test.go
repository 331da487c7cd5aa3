package partitions_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// packing makes even little mail go into packs.
func packing(o *partitions.Options) {
	o.InlineLimit, o.PackSize, o.NoCheckpoints = 8<<10, 512<<10, true
}

// mailPair is two mailboxes of a user. The small one never loses anything, so that some mailbox
// is always reported: otherwise sync_client does not send RESERVE.
type mailPair struct{ small, large *source }

func newMailPair(user string, seed, n int) *mailPair {
	b := &mailPair{newSource("user." + user), newSource("user." + user + ".Large")}
	b.small.deliver(mail(seed+900, 300))
	for i := range n {
		b.large.deliver(mail(seed+i, 3000))
	}
	return b
}

// syncUntil repeats a sync until the server no longer defers the client, and returns the GUIDs
// that the last sync uploaded.
func (h *host) syncUntil(user string, boxes ...*source) []cyrus.GUID {
	h.t.Helper()
	for range 10 {
		c := h.client()
		sent, err := c.uploads(user, boxes...)
		c.s.Close()
		if err == nil {
			return sent
		}
		deferredOnly(h.t, err)
	}
	h.t.Fatalf("%s is deferred forever", user)
	return nil
}

// uploads runs a sync, and returns the GUIDs of the messages that the server requested.
func (c *client) uploads(user string, boxes ...*source) (sent []cyrus.GUID, err error) {
	there, _, err := c.getUser(user)
	if err != nil {
		return nil, err
	}
	ctx := c.t.Context()
	missing, err := c.reserve(ctx, there, boxes)
	if err != nil {
		return nil, err
	}
	done := map[cyrus.GUID]bool{}
	for _, m := range boxes {
		if _, err := c.update(ctx, m, there, missing, done); err != nil {
			return nil, err
		}
	}
	return slices.Collect(maps.Keys(done)), nil
}

// healthy checks that the bucket alone contains all of a user's mail, and that the index agrees.
func (h *host) healthy(store *memstore.Store, user string, boxes ...*source) {
	h.t.Helper()
	for _, box := range boxes {
		if err := box.differs(load(h.t, store, "user/"+user)); err != nil {
			h.t.Error(err)
		}
	}
	checkBucket(h.t, store, "user/"+user, boxes...)
	h.expectSame(user, boxes...)
	f, err := repository.Find(h.t.Context(), h.opt.Partitions, repository.UserName(user))
	if err != nil {
		h.t.Fatal(err)
	}
	done, err := verify.Run(h.t.Context(), f, verify.Options{Report: func(p verify.Problem) { h.t.Errorf("verify: %s", p) }})
	if err != nil || done.Damaged+done.Missing > 0 {
		h.t.Errorf("verify of %s: %+v, %v", user, done, err)
	}
}

func sameGUIDs(t *testing.T, what string, got []cyrus.GUID, want ...*cyrus.Record) {
	t.Helper()
	g, w := map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}
	for _, x := range got {
		g[x] = true
	}
	for _, r := range want {
		w[r.GUID] = true
	}
	if !maps.Equal(g, w) || len(got) != len(g) {
		t.Errorf("%s: %d messages were uploaded, want %d: %v", what, len(got), len(w), got)
	}
}

// mailboxResyncs counts the mailbox resync events of a log.
func mailboxResyncs(t *testing.T, store *memstore.Store, path string) (n int) {
	t.Helper()
	log := history.Log{Store: store, Backup: path}
	newest, err := log.Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for c, err := range log.Commits(t.Context(), 1, newest) {
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range c.Events() {
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := e.(*history.ResyncEvent); ok && e.Reason != "" {
				n++
			}
		}
	}
	return n
}

// fetch reads a message as FETCH in GET does.
func (c *client) fetch(box *source, r *cyrus.Record) error {
	_, body, err := c.s.GetFetch(c.t.Context(), cyrus.Fetch{Name: box.name, UniqueID: box.uniqueid, UID: r.UID, GUID: r.GUID})
	if err != nil {
		return err
	}
	var got bytes.Buffer
	_, err = got.ReadFrom(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), box.bodies[r.GUID]) {
		c.t.Errorf("uid %d: the bytes differ", r.UID)
	}
	return nil
}

// usersOf returns two users in different partitions.
func usersOf(t *testing.T, h *host, stores []*memstore.Store) (users [2]string) {
	t.Helper()
	for i := range 100 {
		user := "u" + strings.Repeat("x", i)
		h.sync(user, newSource("user."+user))
		for n, s := range stores {
			if hasBackup(t, s, "user/"+user) {
				users[n] = user
			}
		}
		if users[0] != "" && users[1] != "" {
			return users
		}
	}
	t.Fatal("all users are in one partition")
	return users
}

// placeOf returns the place of a message with one chunk, according to the log.
func placeOf(t *testing.T, store *memstore.Store, box *source, r *cyrus.Record) history.Place {
	t.Helper()
	m := load(t, store, "user/"+strings.Split(box.name, ".")[1])
	defer m.Close()
	msg, err := m.Message(r.GUID)
	if err != nil || msg == nil || len(msg.Chunks) != 1 {
		t.Fatalf("message %s: %+v, %v", r.GUID, msg, err)
	}
	places, err := m.Places(msg.Chunks[0])
	if err != nil || len(places) == 0 {
		t.Fatalf("message %s: %v, %v", r.GUID, places, err)
	}
	return places[0]
}
