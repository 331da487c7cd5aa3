package partitions_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// aged is a store whose clock the test sets, and the hosts that share it.
type aged struct {
	t     *testing.T
	begin time.Time
	since atomic.Int64 // nanoseconds
	store *memstore.Store
	seed  int
}

func newAged(t *testing.T) *aged {
	a := &aged{t: t, begin: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	a.store = memstore.New(a.clock)
	return a
}

func (a *aged) clock() time.Time { return a.begin.Add(time.Duration(a.since.Load())) }

// pass lets time pass.
func (a *aged) pass(d time.Duration) { a.since.Add(int64(d)) }

func (a *aged) host() *host {
	return newHostWith(a.t, func(o *partitions.Options) { o.Now = a.clock }, a.store)
}

// mail delivers a message and expunges the oldest one on each day.
func (a *aged) mail(h *host, box *source, days int) {
	a.t.Helper()
	for range days {
		a.seed++
		box.deliver(mail(a.seed, 400))
		if len(box.records) > 6 {
			a.expunge(h, box)
		}
		h.sync("anne", box)
		a.pass(24 * time.Hour)
	}
}

// expunge expunges the oldest message. After the sync, the source cleans it up.
func (a *aged) expunge(h *host, box *source) {
	a.t.Helper()
	box.flag(box.records[0], `\Expunged`)
	h.sync("anne", box)
	box.records = box.records[1:]
}

func (a *aged) retain(keep time.Duration) maintenance.RetainResult {
	a.t.Helper()
	return a.retainBy(maintenance.Policy{Keep: keep, LogMinAge: 48 * time.Hour})
}

func (a *aged) retainBy(policy maintenance.Policy) maintenance.RetainResult {
	a.t.Helper()
	f, err := repository.FindPath(a.t.Context(), repository.Config{Name: "p0", Store: a.store}, "user/anne")
	if err != nil {
		a.t.Fatal(err)
	}
	o := repository.LockOptions{Owner: "test", Host: "tool", Now: a.clock}
	u, err := repository.BeginUpkeep(a.t.Context(), f, o)
	if err != nil {
		a.t.Fatal(err)
	}
	done, err := maintenance.Retain(u.Context(), f, u, maintenance.RetainOptions{Lock: o, Policy: policy})
	if err == nil {
		err = u.End(a.t.Context())
	}
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := verify.Run(a.t.Context(), f, verify.Options{Report: func(p verify.Problem) { a.t.Errorf("verify: %s", p) }}); err != nil {
		a.t.Fatal(err)
	}
	return done
}

// Retention removes the beginning of a log beside a daemon that has the backup open, one whose
// index is weeks old, and one without an index. None of them sends or loses anything.
func TestDaemonsAfterRetention(t *testing.T) {
	a := newAged(t)
	h, late := a.host(), a.host()
	box := newSource("user.anne")
	a.mail(h, box, 3)
	late.sync("anne", box)
	late.stop()
	a.mail(h, box, 27)
	mergeLog(t, a.store, "user/anne", 1, 20)
	a.pass(49 * time.Hour)
	done := a.retain(7 * 24 * time.Hour)
	if done.Cut.Number < 20 || !done.Pruned {
		t.Fatalf("%+v", done)
	}
	h.expectSame("anne", box)
	h.checkIndex("anne", box)
	checkBucket(t, a.store, "user/anne", box)
	a.mail(h, box, 1)
	h.expectSame("anne", box)
	late.start()
	late.expectSame("anne", box)
	late.checkIndex("anne", box)
	h.removeIndex()
	h.expectSame("anne", box)
	h.checkIndex("anne", box)
	for range 3 {
		a.mail(h, box, 9)
		newest := done.Commit + 3
		mergeLog(t, a.store, "user/anne", done.Cut.Number+1, newest)
		a.pass(49 * time.Hour)
		if done = a.retain(7 * 24 * time.Hour); done.Cut.Number < newest {
			t.Fatalf("%+v, want the cut %d", done, newest)
		}
		h.expectSame("anne", box)
		checkBucket(t, a.store, "user/anne", box)
		late.expectSame("anne", box)
	}
	if n, err := (&history.Log{Store: a.store, Backup: "user/anne"}).First(t.Context()); err != nil || n != done.Cut.Number+1 {
		t.Errorf("the log begins with %d, %v", n, err)
	}
}

// A message that retention has dropped comes back as a new one.
func TestPrunedMessageComesAgain(t *testing.T) {
	a := newAged(t)
	h := a.host()
	box := newSource("user.anne")
	body := mail(7, 3000)
	box.deliver(body)
	h.sync("anne", box)
	a.expunge(h, box)
	a.mail(h, box, 20)
	mergeLog(t, a.store, "user/anne", 1, 12)
	a.pass(49 * time.Hour)
	if done := a.retain(5 * 24 * time.Hour); !done.Pruned {
		t.Fatalf("%+v", done)
	}
	box.deliver(body)
	h.sync("anne", box)
	h.expectSame("anne", box)
	checkBucket(t, a.store, "user/anne", box)
	h.removeIndex()
	h.expectSame("anne", box)
}

// A daemon does not read a backup again because retention has removed the checkpoint that its index
// knows, and the log after it.
func TestIndexStaysAfterRetention(t *testing.T) {
	a := newAged(t)
	var lines bytes.Buffer
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now, o.CheckpointObject, o.Logger = a.clock, 4, slog.New(slog.NewTextHandler(&lines, nil))
	}, a.store)
	box := newSource("user.anne")
	a.mail(h, box, 12)
	at := checkpoints(t, a.store, "user/anne")
	for tries := 0; len(at) == 0; tries++ { // one is written in the background, unless that takes hours
		if tries == 100 {
			t.Fatal("no checkpoint")
		}
		a.seed++
		box.deliver(mail(a.seed, 400))
		h.sync("anne", box)
		time.Sleep(20 * time.Millisecond)
		at = checkpoints(t, a.store, "user/anne")
	}
	h.set.Options().NoCheckpoints = true
	a.mail(h, box, 20)
	mergeLog(t, a.store, "user/anne", 1, at[0]+10)
	a.pass(49 * time.Hour)
	if done := a.retain(7 * 24 * time.Hour); done.Cut.Number <= at[0]+1 {
		t.Fatalf("%+v; the index knows checkpoint %d", done, at[0])
	}
	a.mail(h, box, 2)
	h.expectSame("anne", box)
	h.stop()
	if strings.Contains(lines.String(), "made again") || strings.Contains(lines.String(), "read again") {
		t.Errorf("%s", lines.String())
	}
}
