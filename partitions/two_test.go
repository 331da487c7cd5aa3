package partitions_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// two is two partitions, with hosts that share them.
type two struct {
	t      *testing.T
	stores []*memstore.Store
	who    string
	boxes  []*source
	// lease is that of a move. A second is short enough to wait for the end of one that a test has
	// interrupted, and a busy machine loses it.
	lease time.Duration
}

// inTwo makes a backup with every kind of object: inline bodies, packs shared with another
// user, pieces, checkpoints.
func inTwo(t *testing.T) (*two, *host) {
	stores := []*memstore.Store{newStore(), newStore()}
	a := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, stores[0], stores[1])
	return backedUp(a, stores, "anne", noise(7, 1200<<10)), a
}

// backedUp makes the backup of a user with mail in packs and in the log, a checkpoint, and the
// given large messages.
func backedUp(a *host, stores []*memstore.Store, who string, large ...[]byte) *two {
	w := &two{t: a.t, stores: stores, who: who, lease: time.Second}
	inbox, sent, other := newSource("user."+who), newSource("user."+who+".Sent"), newSource("user.with"+who)
	for n := range 12 {
		inbox.deliver(mail(n, 3000))
	}
	for _, b := range large {
		inbox.deliver(b)
	}
	for n := range 6 {
		other.deliver(mail(n, 3000)) // the same mail
		other.deliver(mail(1000+n, 3000))
	}
	w.boxes = []*source{inbox, sent}
	a.sync("with"+who, other)
	a.sync(who, inbox)
	w.checkpoint()
	w.news(a)
	return w
}

func (w *two) path() string { return "user/" + w.who }

func (w *two) parts() (out []repository.Config) {
	for i, s := range w.stores {
		out = append(out, repository.Config{Name: fmt.Sprintf("p%d", i), Location: "memory", Store: s})
	}
	return out
}

// home returns the user's backup in its partition.
func (w *two) home() *repository.Found {
	w.t.Helper()
	f, err := repository.Find(w.t.Context(), w.parts(), repository.UserName(w.who))
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *two) other() string {
	if w.home().Partition.Name == "p0" {
		return "p1"
	}
	return "p0"
}

func (w *two) checkpoint() {
	w.t.Helper()
	m := load(w.t, w.home().Partition.Store, w.path())
	defer m.Close()
	if _, err := m.WriteCheckpoint(w.t.Context(), pack.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// news changes the source and syncs it: an inline message, a packed message, flags.
func (w *two) news(h *host) {
	w.t.Helper()
	w.happens()
	h.sync(w.who, w.boxes...)
}

func (w *two) happens() {
	n := int(w.boxes[1].modseq)
	w.boxes[1].deliver(mail(2000+n, 700))
	w.boxes[1].deliver(mail(3000+n, 12_000))
	w.boxes[0].flag(w.boxes[0].records[0], fmt.Sprintf("n%d", n))
}

// newsOrLater is news for a client that retries while the server defers it.
func (w *two) newsOrLater(h *host) {
	w.t.Helper()
	w.happens()
	for range 100 {
		c := h.client()
		_, err := c.sync(w.who, w.boxes...)
		c.s.Close()
		if err == nil {
			return
		}
		if !errors.Is(err, cyrus.ErrLocked) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("the client is deferred forever")
}

// move moves the backup on a separate host, as the tool does.
func (w *two) move(to string) error {
	h := newMover(w.t, w.stores)
	defer h.stop()
	return w.moveWith(h, to)
}

func newMover(t *testing.T, stores []*memstore.Store) *host {
	return newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints, o.PackSize = true, 16<<10 }, stores[0], stores[1])
}

func (w *two) moveWith(h *host, to string) error {
	dest, err := h.set.Partition(to)
	if err != nil {
		return err
	}
	_, err = transfer.Move(w.t.Context(), h.set.Configs(), repository.UserName(w.who), dest,
		repository.LockOptions{Owner: "test", Host: "mover", Wait: true, Lease: w.lease}, nil)
	return err
}

func (w *two) mustMove(to string) {
	w.t.Helper()
	if err := w.move(to); err != nil {
		w.t.Fatal(err)
	}
}

// check checks that the whole backup is in a partition, including an earlier state.
func (w *two) check(in string) {
	w.t.Helper()
	f := w.sound(in)
	checkBucket(w.t, f.Partition.Store, w.path(), w.boxes...).Close()
	first, err := f.Load(w.t.Context(), history.Moment{Number: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	defer first.Close()
	objects := history.NewObjects(f.Partition.Store, 0)
	for _, r := range w.boxes[0].records {
		checkBody(w.t, first, objects, r.GUID, w.boxes[0].bodies[r.GUID])
	}
}

// sound checks that the backup is in a partition, and that every object it refers to exists.
func (w *two) sound(in string) *repository.Found {
	w.t.Helper()
	f := w.home()
	if f.Partition.Name != in {
		w.t.Fatalf("the backup is in %s, want %s", f.Partition.Name, in)
	}
	v, err := verify.Run(w.t.Context(), f, verify.Options{Report: func(p verify.Problem) { w.t.Errorf("verify: %s", p) }})
	if err != nil || v.Damaged > 0 {
		w.t.Errorf("verify: %+v, %v", v, err)
	}
	return f
}
