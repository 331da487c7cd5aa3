package partitions_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// A dead partition costs one timeout, not one for each user.
func TestDeadPartitionCostsOneTimeout(t *testing.T) {
	stores := []*faultstore.Store{faultstore.New(newStore()), faultstore.New(newStore())}
	h := newHostWith(t, func(o *partitions.Options) { o.OutageWait, o.PatientWait = 2*time.Second, 3*time.Second }, stores[0], stores[1])
	var users []string
	for i := range 24 {
		u := fmt.Sprint("u", i)
		h.sync(u, newSource("user."+u))
		users = append(users, u)
	}
	dead := map[string]bool{}
	for _, u := range users {
		_, err := stores[0].Stat(t.Context(), "backups/user/"+u+"/backup.json")
		dead[u] = err == nil
	}
	stores[0].Add(faultstore.Fault{Before: faultstore.Lost})
	began := time.Now()
	for round := range 3 {
		for _, u := range users {
			s := session.New(h.set, session.Who{Connection: "c"})
			for name, err := range map[string]error{"GET USER": s.GetUser(t.Context(), u, nowhere), "SUB": s.ApplySub(t.Context(), u, "user."+u, true)} {
				if dead[u] != (err != nil) || err != nil && !errors.Is(err, cyrus.ErrUnavailable) {
					t.Fatalf("round %d, %s of %s, in the dead partition: %v: %v", round, name, u, dead[u], err)
				}
			}
			s.Close()
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three rounds of %d users took %v; one timeout takes 2 s", len(users), took)
	}
	stores[0].Clear()
	time.Sleep(100 * time.Millisecond)
	for _, u := range users {
		h.sync(u, newSource("user."+u))
	}
	if got := h.set.Troubles(); len(got) != 0 {
		t.Errorf("troubles after recovery: %+v", got)
	}
}

// A backup whose index must be rebuilt is found in its partition, although the other partition is
// unreachable and may contain it, too. A request for an unknown user is deferred.
func TestRebuildBesideDeadPartition(t *testing.T) {
	stores := [2]*memstore.Store{newStore(), newStore()}
	first := faultstore.New(stores[0])
	h := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.NoCheckpoints = true }, first, stores[1])
	users := placed(t, h, stores)
	box := newSource("user." + users[1])
	for n := range 4 {
		box.deliver(mail(n, 900))
		h.sync(users[1], box)
	}
	log := history.Log{Store: stores[1], Backup: "user/" + users[1]}
	newest, err := log.Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	first.Add(faultstore.Fault{Before: faultstore.Denied})
	// The bucket loses its newest commit: the partition becomes suspect.
	if err := stores[1].Delete(t.Context(), history.LogKey("user/"+users[1], newest)); err != nil {
		t.Fatal(err)
	}
	h.sync(users[1], box)
	checkBucket(t, stores[1], "user/"+users[1], box)
	if _, _, err := h.client().getUser("unknown"); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("a user that may be in the unreachable partition: %v", err)
	}
}

// While another partition answers, a host waits only a moment for a dead one.
func TestOthersFirst(t *testing.T) {
	stores := [2]*memstore.Store{newStore(), newStore()}
	dead := faultstore.New(stores[0])
	h := newHostWith(t, func(o *partitions.Options) {
		o.OutageWait, o.PatientWait, o.OthersFirst = time.Minute, time.Minute, 50*time.Millisecond
		o.PackSize, o.InlineLimit = 64<<10, 1<<10
	}, dead, stores[1])
	users := placed(t, h, stores)
	dead.Add(faultstore.Fault{Before: faultstore.Lost, Match: func(op, _ string) bool { return op == "put" }})
	began := time.Now()
	box := newSource("user." + users[0])
	box.deliver(noise(1, 200<<10))
	c := h.client()
	if _, err := c.sync(users[0], box); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("a partition that accepts no puts: %v", err)
	}
	c.s.Close()
	dead.Add(faultstore.Fault{Before: faultstore.Lost})
	if _, _, err := h.client().getUser(users[0]); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("a partition that does not answer: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited %v", took)
	}
	dead.Clear()
	h.sync(users[1], newSource("user."+users[1]))
}

// Several refused packs in a row are one trouble.
func TestRefusedPacksAreLoggedOnce(t *testing.T) {
	log := newLines()
	store := faultstore.New(newStore())
	h := newHostWith(t, func(o *partitions.Options) {
		shortWait(o)
		o.Logger, o.PackSize, o.InlineLimit = slog.New(log), 64<<10, 1<<10
	}, store)
	h.sync("anne", newSource("user.anne"))
	store.Add(faultstore.Fault{Before: faultstore.Denied, Match: func(op, _ string) bool { return op == "put" }})
	box := newSource("user.anne")
	for i := range 20 {
		box.deliver(noise(uint64(i), 20<<10))
	}
	c := h.client()
	if _, err := c.sync("anne", box); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	c.s.Close()
	if got := log.take("ERROR"); len(got) != 1 || !strings.Contains(got[0], "kind=denied") {
		t.Errorf("logged %q, want one line", got)
	}
}
