package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
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
	e := newHostWith(t, x.options, out)
	defer e.stop()
	if err := x.export(e, net); err != nil {
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

// An export is stopped at each of its requests that change something. Before it is repeated, retention removes
// the commits that it has copied.
func TestStoppedExportThatRetentionOvertakes(t *testing.T) {
	x := newExported(t)
	was, now, box, overtaken := x.s.Snapshot(), x.c.now, x.box.clone(), 0
	for n := firstCall(); ; n += stride() {
		out := memstore.New(x.c.clock)
		f, reached := fault(n, 1<<30, memstore.ErrInjected)
		out.SetFaults(ofChanges(f), nil)
		e := newHostWith(t, x.options, out)
		first := x.export(e, x.s)
		out.SetFaults(nil, nil)
		copied, err := (&history.Log{Store: out, Backup: "user/anne"}).Newest(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		x.later()
		begin, err := (&history.Log{Store: x.s, Backup: "user/anne"}).First(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && copied > 0 && copied < begin {
			overtaken++
		}
		if err := x.export(e, x.s); err != nil {
			t.Fatalf("stopped at change %d (%v), with commits up to %d; the log begins with %d: %v", n, first, copied, begin, err)
		}
		checkBucket(t, out, "user/anne", x.box).Close()
		e.stop()
		x.s.Rollback(was, "", false)
		x.c.now, x.box = now, box.clone()
		if !reached() {
			break
		}
	}
	if overtaken == 0 && stride() == 1 {
		t.Error("retention has overtaken no copy: this test no longer covers its case")
	}
}

// A second export goes on. Between any two of its requests, retention removes what the two have in common.
func TestSecondExportBesideRetention(t *testing.T) {
	x := newExported(t)
	out := memstore.New(x.c.clock)
	e := newHostWith(t, x.options, out)
	if err := x.export(e, x.s); err != nil {
		t.Fatal(err)
	}
	was, there, now, box := x.s.Snapshot(), out.Snapshot(), x.c.now, x.box.clone()
	for n, reached := firstCall()-1, true; reached; n += stride() {
		net := faultstore.New(x.s)
		reached = false
		net.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) { reached = true; x.later() }})
		if err := x.export(e, net); err != nil {
			t.Fatalf("retention before request %d: %v", n, err)
		}
		if err := x.export(e, x.s); err != nil {
			t.Fatalf("after retention before request %d: %v", n, err)
		}
		checkBucket(t, out, "user/anne", x.box).Close()
		x.s.Rollback(was, "", false)
		out.Rollback(there, "", false)
		x.c.now, x.box = now, box.clone()
	}
}

// later delivers messages, some days after each other, before two nights of compact.
func (x *exported) later() {
	h := newHostWith(x.t, x.options, x.s)
	for i := range 2 {
		x.c.now = x.c.now.Add(5 * 24 * time.Hour)
		x.box.deliver(mail(50+i, 400))
		h.sync("anne", x.box)
	}
	h.stop()
	for range 2 {
		x.c.now = x.c.now.Add(50 * time.Hour)
		nightly(x.t, x.c, x.s, "")
	}
}

func (x *exported) export(e *host, from objstore.Store) error {
	f, err := repository.FindPath(x.t.Context(), repository.Config{Name: "p0", Location: "memory", Store: from}, "user/anne")
	if err != nil {
		x.t.Fatal(err)
	}
	_, err = transfer.Copy(x.t.Context(), f, e.set.Partitions()[0], nil)
	return err
}
