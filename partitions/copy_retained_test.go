package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// exported is a backup of some days, after two nights of compact.
type exported struct {
	t   *testing.T
	c   *clocked
	s   *memstore.Store
	box *source
	was map[uint64]*source // moments, by commit
}

func newExported(t *testing.T) *exported {
	c := &clocked{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	x := &exported{t: t, c: c, s: memstore.New(c.clock), box: newSource("user.anne"), was: map[uint64]*source{}}
	h := newHostWith(t, x.options, x.s)
	for day := range 7 {
		x.box.deliver(mail(day, 400))
		if day > 2 {
			x.box.flag(x.box.live()[0], `\Expunged`)
		}
		h.sync("anne", x.box)
		tip, err := (&history.Log{Store: x.s, Backup: "user/anne"}).Newest(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		x.was[tip] = x.box.clone()
		x.box.records = x.box.live() // the source cleans up
		c.now = c.now.Add(25 * time.Hour)
	}
	h.stop()
	for range 2 {
		nightly(t, c, x.s, "")
		c.now = c.now.Add(25 * time.Hour)
	}
	return x
}

func (x *exported) options(o *partitions.Options) { o.Now, o.NoCheckpoints = x.c.clock, true }

// ctl_backups compact merges and shortens a log between any two requests of an export. The copy can
// be read, and has every moment that is still kept.
func TestExportBesideCompact(t *testing.T) {
	x := newExported(t)
	was, now := x.s.Snapshot(), x.c.now
	for n := firstCall() - 1; x.beside(n); n += stride() {
		if t.Failed() {
			t.Fatalf("at request %d", n)
		}
		x.s.Rollback(was, "", false)
		x.c.now = now
	}
}

// beside exports, with a night at one of the requests.
func (x *exported) beside(request int) (reached bool) {
	t, out, net := x.t, memstore.New(x.c.clock), faultstore.New(x.s)
	net.Add(faultstore.Fault{Skip: request, Count: 1, Call: func(string, string) { reached = true; nightly(t, x.c, x.s, "") }})
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Location: "memory", Store: net}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	e := newHostWith(t, x.options, out)
	defer e.stop()
	if _, err := transfer.Copy(t.Context(), f, e.set.Partitions()[0], nil); err != nil {
		t.Fatal(err)
	}
	checkBucket(t, out, "user/anne", x.box).Close()
	for n := range x.was {
		if x.kept(n) {
			x.check(out, n)
		}
	}
	return reached
}

func (x *exported) kept(n uint64) bool {
	m, err := history.Load(x.t.Context(), x.s, "user/anne", history.Moment{Number: n})
	if err != nil {
		return false
	}
	return m.Close() == nil
}

// check checks a moment of the copy.
func (x *exported) check(out *memstore.Store, n uint64) {
	x.t.Helper()
	m, err := history.Load(x.t.Context(), out, "user/anne", history.Moment{Number: n})
	if err != nil {
		x.t.Fatal(err)
	}
	defer m.Close()
	if err := sameBoxes(m, []*source{x.was[n]}); err != nil {
		x.t.Errorf("commit %d: %v", n, err)
	}
	objects := history.NewObjects(out, 0)
	for _, r := range x.was[n].live() {
		checkBody(x.t, m, objects, r.GUID, x.was[n].bodies[r.GUID])
	}
}
