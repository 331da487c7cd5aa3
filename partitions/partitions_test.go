package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// deaf is a store that ignores conditions, as some stores do.
type deaf struct{ objstore.Store }

func (d deaf) Put(ctx context.Context, key string, b objstore.Body, _ objstore.PutOptions) (objstore.Info, error) {
	return d.Store.Put(ctx, key, b, objstore.PutOptions{})
}

func hasBackup(t *testing.T, s objstore.Store, path string) bool {
	t.Helper()
	_, err := s.Stat(t.Context(), "backups/"+path+"/backup.json")
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// placed returns two users, one for each partition that the host chooses.
func placed(t *testing.T, h *host, stores [2]*memstore.Store) (users [2]string) {
	t.Helper()
	for i := 0; users[0] == "" || users[1] == ""; i++ {
		u := fmt.Sprint("placed", i)
		box := newSource("user." + u)
		h.sync(u, box)
		for p, s := range stores {
			if hasBackup(t, s, "user/"+u) {
				users[p] = u
			}
		}
	}
	return users
}

func TestUsersAreSpread(t *testing.T) {
	stores := [2]*memstore.Store{withRepository(t), withRepository(t)}
	h := newHost(t, stores[0], stores[1])
	other := newHost(t, stores[0], stores[1])
	other.stop()
	slices.Reverse(other.opt.Partitions)
	other.start()
	var count [2]int
	for i := range 24 {
		u := fmt.Sprint("u", i)
		box := newSource("user." + u)
		box.deliver(mail(i, 300))
		h.sync(u, box)
		n := 0
		for p, s := range stores {
			if hasBackup(t, s, "user/"+u) {
				count[p]++
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%s is in %d partitions", u, n)
		}
		other.expectSame(u, box) // found in its partition
	}
	if count[0] < 4 || count[1] < 4 {
		t.Errorf("24 users are spread as %v", count)
	}
}

// A backup stays in its partition, whichever partition hashing would choose.
func TestBackupIsFoundInItsPartition(t *testing.T) {
	stores := [2]*memstore.Store{withRepository(t), withRepository(t)}
	var boxes []*source
	for p, s := range stores {
		h := newHost(t, s)
		for i := range 4 {
			box := newSource(fmt.Sprintf("user.at%d-%d", p, i))
			box.deliver(mail(i, 300))
			h.sync(strings.TrimPrefix(box.name, "user."), box)
			boxes = append(boxes, box)
		}
	}
	h := newHost(t, stores[0], stores[1])
	for _, b := range boxes {
		h.expectSame(strings.TrimPrefix(b.name, "user."), b)
		b.deliver(mail(77, 300))
		h.sync(strings.TrimPrefix(b.name, "user."), b)
	}
	for p, s := range stores {
		for i := range 4 {
			if hasBackup(t, s, fmt.Sprintf("user/at%d-%d", 1-p, i)) {
				t.Errorf("at%d-%d was created a second time", 1-p, i)
			}
		}
	}
}

func TestBackupInTwoPartitions(t *testing.T) {
	one, two := withRepository(t), withRepository(t)
	box := newSource("user.anne")
	for _, s := range []objstore.Store{one, two} {
		newHost(t, s).sync("anne", box)
	}
	h := newHost(t, one, two)
	_, _, err := h.client().getUser("anne")
	if err == nil || !strings.Contains(err.Error(), "p0") || !strings.Contains(err.Error(), "p1") {
		t.Fatalf("a backup in two partitions: %v, want an error that names both", err)
	}
}

// A partition that cannot be read may contain the backup, so none is created in another
// partition.
func TestUnreadablePartition(t *testing.T) {
	for _, injected := range []error{memstore.ErrInjected, errDenied, &objstore.Error{Op: "get", Err: objstore.ErrNoBucket}} {
		one, two := withRepository(t), withRepository(t)
		h := newHostWith(t, func(o *partitions.Options) { o.OutageWait, o.PatientWait = time.Millisecond, time.Millisecond }, one, two)
		before := len(objects(t, one, ""))
		two.SetFaults(func(string, string) error { return injected }, nil)
		for i := range 4 {
			u := fmt.Sprint("u", i)
			c := h.client()
			if _, _, err := c.getUser(u); !errors.Is(err, cyrus.ErrLocked) {
				t.Errorf("GET USER while a partition returns %v: %v, want ErrLocked", injected, err)
			}
			box := newSource("user." + u)
			if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(nil)); !errors.Is(err, cyrus.ErrLocked) {
				t.Errorf("APPLY MAILBOX: %v, want ErrLocked", err)
			}
			if err := c.s.ApplySub(t.Context(), u, box.name, true); err == nil {
				t.Error("a subscription was accepted")
			}
			c.s.Close()
		}
		if after := len(objects(t, one, "")); after != before {
			t.Errorf("the other partition got %d objects", after-before)
		}
		two.SetFaults(nil, nil)
		h.sync("u0", newSource("user.u0"))
	}
}

// A message is staged for the partition of one user, and then a mailbox of a user in another
// partition refers to it.
func TestMessageForAnotherPartition(t *testing.T) {
	for _, private := range []bool{false, true} {
		stores := [2]*memstore.Store{newStore(), newStore()}
		h := newHostWith(t, func(o *partitions.Options) {
			o.InlineLimit, o.DedupPerBackup = 8<<10, private
		}, stores[0], stores[1])
		users := placed(t, h, stores)
		for i, bodies := range [][][]byte{
			{mail(1, 500)}, // in memory
			{mail(2, 7000), mail(3, 7000)},
			{noise(5, 1300<<10)}, // in pieces
		} {
			box := newSource(fmt.Sprintf("user.%s.Box%d", users[1], i))
			c := h.client()
			if _, _, err := c.getUser(users[0]); err != nil {
				t.Fatal(err)
			}
			for _, b := range bodies {
				if err := c.upload(t.Context(), box, box.deliver(b)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)); err != nil {
				t.Fatalf("private=%v: %v", private, err)
			}
			c.s.Close()
			checkBucket(t, stores[1], "user/"+users[1], box)
			if m := load(t, stores[0], "user/"+users[0]); m != nil {
				if mb, err := m.MailboxByName(box.name); err != nil || mb != nil {
					t.Errorf("the first user's backup contains the mailbox: %v, %v", mb, err)
				}
			}
		}
	}
}

// A mailbox moves to a user whose backup is in another partition.
func TestMoveToAnotherPartition(t *testing.T) {
	stores := [2]*memstore.Store{newStore(), newStore()}
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 8 << 10 }, stores[0], stores[1])
	users := placed(t, h, stores)
	box := newSource("user." + users[0] + ".Box")
	for i := range 10 {
		box.deliver(mail(i, 3000))
	}
	box.deliver(noise(3, 1300<<10))
	h.sync(users[0], newSource("user."+users[0]), box)
	c := h.client()
	if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: box.name, New: "user." + users[1] + ".Box", Partition: "default", UIDValidity: box.validity}); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	box.name = "user." + users[1] + ".Box"
	checkBucket(t, stores[1], "user/"+users[1], box)
	h.expectSame(users[1], newSource("user."+users[1]), box)
	h.expectSame(users[0], newSource("user."+users[0]))
}

// With dedup "backup" no backup refers to messages that another backup uploaded.
func TestDedupPerBackup(t *testing.T) {
	s, n := counted(newStore())
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.DedupPerBackup = 8<<10, true }, s)
	a, b := newSource("user.anne"), newSource("user.bert")
	for i := range 20 {
		a.deliver(mail(i, 5000))
		b.deliver(mail(i, 5000))
	}
	b.deliver(noise(9, 1300<<10))
	a.deliver(noise(9, 1300<<10))
	h.sync("anne", a)
	n.Reset()
	c := h.client()
	if _, err := c.sync("bert", newSource("user.bert.Empty")); err != nil {
		t.Fatal(err)
	}
	missing, err := c.s.Reserve(t.Context(), "default", []string{"user.bert.Empty"}, []cyrus.GUID{a.records[0].GUID, a.records[20].GUID})
	if err != nil || len(missing) != 2 {
		t.Errorf("RESERVE of another backup's mail: %v, %v; want both missing", missing, err)
	}
	c.s.Close()
	h.sync("bert", b, newSource("user.bert.Empty"))
	if got := n.Snapshot()["put"].Bytes; got < 1300<<10 {
		t.Errorf("the same mail for a second user put only %d bytes", got)
	}
	h.removeIndex()
	h.expectSame("bert", b, newSource("user.bert.Empty"))
	h.expectSame("anne", a)
	checkBucket(t, s, "user/bert", b)
	checkBucket(t, s, "user/anne", a)
}

func TestStoreWithoutConditions(t *testing.T) {
	store := newStore()
	h := newHost(t, deaf{store})
	box := newSource("user.anne")
	box.deliver(mail(1, 500))
	c := h.client()
	_, err := c.sync("anne", box)
	if err == nil || !strings.Contains(err.Error(), "backup_exclusive") {
		t.Fatalf("a store without conditional puts: %v, want an error that names backup_exclusive", err)
	}
	c.s.Close()
	if hasBackup(t, store, "user/anne") {
		t.Error("a backup was created nevertheless")
	}
	// The administrator declares this host the only writer.
	h.stop()
	h.opt.Exclusive = true
	h.start()
	h.sync("anne", box)
	h.expectSame("anne", box)
	checkBucket(t, store, "user/anne", box)
}

// The only writer of a store that ignores conditions: calls fail, and answers are lost.
func TestExclusiveUnderFaults(t *testing.T) {
	t.Parallel()
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) {
		o.Exclusive, o.InlineLimit, o.PackSize, o.NoCheckpoints = true, 8<<10, 512<<10, true
		o.OutageWait, o.PatientWait = 10*time.Second, 10*time.Second
	}, deaf{store})
	h.sync("somebody", newSource("user.somebody"))
	for n := firstCall(); tryStory(h, store, n, n, 1, n%2 == 0, memstore.ErrInjected); n += stride() {
		if t.Failed() {
			t.Fatalf("call %d", n)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	h := newHost(t, newStore())
	h.stop()
	for what, o := range map[string]partitions.Options{
		"no partition": {Index: h.index},
		"twice":        {Index: h.index, Partitions: []repository.Config{{Name: "a"}, {Name: "a"}}},
		"no index":     {Partitions: []repository.Config{{Name: "a"}}},
		"little":       {Index: h.index, Partitions: []repository.Config{{Name: "a"}}, MemoryLimit: 1 << 20},
	} {
		if _, err := partitions.Open(o); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// A truncated body is refused at every size, and nothing of it is kept.
func TestTruncatedBodyIsRefused(t *testing.T) {
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 8 << 10 }, newStore())
	box := newSource("user.anne")
	c := h.client()
	for _, n := range []int{500, 9000, 2 << 20} {
		r := box.deliver(noise(uint64(n), n))
		body := box.bodies[r.GUID]
		if err := c.s.Message(t.Context(), "default", r.GUID, int64(n), bytes.NewReader(body[:n/2])); err == nil {
			t.Errorf("half a message of %d bytes was accepted", n)
		}
	}
	if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Errorf("a mailbox with these messages: %v, want ErrBadParameters", err)
	}
	c.mustSync("anne", box)
	c.s.Close()
	h.expectSame("anne", box)
}

// A missing body arrives while the most recently opened backup is in another partition. The
// body is stored in the partition of the backup that lacks it.
func TestMissingBodyForAnotherPartition(t *testing.T) {
	stores := [2]*memstore.Store{newStore(), newStore()}
	h := newHostWith(t, func(o *partitions.Options) { o.MissingRetry = 1 }, stores[0], stores[1])
	users := placed(t, h, stores)
	other, box := newSource("user."+users[0]+".Box"), newSource("user."+users[1]+".Box")
	h.sync(users[0], other)
	bad := box.deliver(mail(1, 7000))
	body := box.bodies[bad.GUID]
	delete(box.bodies, bad.GUID)
	h.sync(users[1], box)
	box.bodies[bad.GUID] = body
	h.stop()
	h.opt.InlineLimit = 4 << 10 // the body goes to a pack
	h.start()
	c := h.client()
	there, err := c.getMailboxes(box, other)
	if err != nil {
		t.Fatal(err)
	}
	if !there.empty(box) || number(there[other.uniqueid], "UIDVALIDITY") == 0 {
		t.Fatalf("reported: %v, want the mailbox with a missing body as empty, and the other unchanged", there)
	}
	if _, err := c.updateAll(there, other, box); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	m := checkBucket(t, stores[1], "user/"+users[1], box)
	if msg, err := m.Message(bad.GUID); err != nil || msg.Missing {
		t.Errorf("the message: %+v, %v; want its body", msg, err)
	}
}
