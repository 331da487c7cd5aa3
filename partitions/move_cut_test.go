package partitions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// Each storage call of a move fails once, the answer of each put is lost once, and each put of
// a second move, back to the first partition, fails once. A daemon that finds the half-moved
// backup defers the client. A second attempt completes the move.
func TestMoveInterrupted(t *testing.T) {
	for name, c := range map[string]interruptedMoves{
		"fails":           {},
		"answer lost":     {after: true},
		"on the way back": {back: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.t, c.stores = t, []*memstore.Store{newStore(), newStore()}
			c.a = newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, c.stores[0], c.stores[1])
			c.mover = newMover(t, c.stores)
			c.late = newHostWith(t, func(o *partitions.Options) {
				shortWait(o)
				o.NoCheckpoints = true
			}, c.stores[0], c.stores[1])
			n := firstCall()
			for ; c.at(n); n += stride() {
				if t.Failed() {
					t.Fatalf("call %d", n)
				}
			}
			if n < 10 {
				t.Errorf("a move has only %d calls", n-1)
			}
		})
	}
}

// ofPuts limits a fault to puts, since a failed read can simply be repeated.
func ofPuts(f memstore.Fault) memstore.Fault {
	return func(op, key string) error {
		if op != "put" {
			return nil
		}
		return f(op, key)
	}
}

// interruptedMoves are interrupted moves, each of another user.
type interruptedMoves struct {
	t           *testing.T
	after, back bool
	stores      []*memstore.Store
	a, mover    *host
	late        *host // sees each backup for the first time when it is half moved
}

func (c *interruptedMoves) at(n int) (reached bool) {
	t := c.t
	w := backedUp(c.a, c.stores, fmt.Sprint("anne", n))
	to := w.other()
	if c.back {
		if err := w.moveWith(c.mover, to); err != nil {
			t.Fatal(err)
		}
		w.news(c.a)
		to = w.other()
	}
	f, done := fault(n, 1, errDenied)
	if c.after || c.back {
		f = ofPuts(f)
	}
	for _, s := range w.stores {
		if c.after {
			s.SetFaults(nil, f)
		} else {
			s.SetFaults(f, nil)
		}
	}
	err := w.moveWith(c.mover, to)
	reached = done()
	for _, s := range w.stores {
		s.SetFaults(nil, nil)
	}
	if err != nil {
		w.between(c.late)
		w.between(c.a)
		if err := w.moveWith(c.mover, to); err != nil && !errors.Is(err, transfer.ErrThere) {
			t.Fatalf("second attempt: %v", err)
		}
	}
	c.a.expectSame(w.who, w.boxes...)
	w.news(c.a)
	w.sound(to)
	return reached
}

// A mover that is killed after it wrote the seal leaves a lock in the old partition. After the
// move is repeated, no daemon waits for that lock to expire.
func TestMoveKilledAfterItsSeal(t *testing.T) {
	stores := []*memstore.Store{newStore(), newStore()}
	a := newHostWith(t, func(o *partitions.Options) { o.OutageWait, o.PatientWait = time.Second, time.Second }, stores[0], stores[1])
	w := backedUp(a, stores, "anne")
	to := w.other()
	sealed := false
	for _, s := range stores {
		s.SetFaults(func(op, key string) error {
			if op == "put" && strings.HasSuffix(key, "backup.json") {
				sealed = true
			}
			if sealed {
				return errDenied
			}
			return nil
		}, nil)
	}
	mover := newMover(t, stores)
	dest, err := mover.set.Partition(to)
	if err != nil {
		t.Fatal(err)
	}
	move := func() error {
		_, err := transfer.Move(t.Context(), mover.set.Configs(), repository.UserName("anne"), dest, repository.LockOptions{Owner: "test", Host: "mover"}, nil)
		return err
	}
	if err := move(); err == nil || !sealed {
		t.Fatalf("%v, sealed %v", err, sealed)
	}
	for _, s := range stores {
		s.SetFaults(nil, nil)
	}
	c := a.client()
	if _, err := c.sync("anne", w.boxes...); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("half moved: %v, want ErrLocked", err)
	}
	c.s.Close()
	if err := move(); err != nil {
		t.Fatal(err)
	}
	a.expectSame("anne", w.boxes...)
	w.news(a)
	w.check(to)
}

// between runs a sync after an interrupted move: the sync succeeds or the client is deferred.
func (w *two) between(h *host) {
	w.t.Helper()
	c := h.client()
	defer c.s.Close()
	if _, err := c.sync(w.who, w.boxes...); err != nil && !errors.Is(err, cyrus.ErrLocked) {
		w.t.Errorf("a sync after the interrupted move: %v, want ErrLocked", err)
	}
}
