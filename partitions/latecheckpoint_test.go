package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// lateCheckpoint is a bucket that was restored to an older state while a host put a checkpoint of
// commit 4. The request has arrived afterwards, in another log.
type lateCheckpoint struct {
	t     *testing.T
	now   time.Time
	store *memstore.Store
	host  *host
	box   *source
	late  map[string][]byte // the checkpoint, and its blocks or not
}

func newLateCheckpoint(t *testing.T, left int, blocks bool) *lateCheckpoint {
	l := &lateCheckpoint{t: t, now: time.Now(), box: newSource("user.anne"), late: map[string][]byte{}}
	l.store = memstore.New(func() time.Time { return l.now })
	l.host = newHostWith(t, func(o *partitions.Options) {
		o.NoCheckpoints, o.Now = true, func() time.Time { return l.now }
	}, l.store)
	bert := newSource("user.bert")
	bert.deliver(mail(99, 300))
	l.host.sync("bert", bert)
	then := l.store.Snapshot()
	for i := range 4 {
		if i == left {
			then = l.store.Snapshot()
		}
		l.news()
	}
	before := l.store.Snapshot()
	checkpoint(t, l.store)
	for _, key := range l.store.Changed(before) {
		if blocks || strings.Contains(key, "/checkpoints/") {
			l.late[key] = l.store.Bytes(key)
		}
	}
	l.now = l.now.Add(time.Hour)
	l.store.Rollback(then, "", false)
	return l
}

func (l *lateCheckpoint) news() {
	l.box.deliver(mail(int(l.box.lastUID)+1, 700))
	l.host.syncUntil("anne", l.box)
	l.now = l.now.Add(time.Minute)
}

func (l *lateCheckpoint) arrives() {
	for key, b := range l.late {
		if _, err := l.store.Put(l.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			l.t.Fatal(err)
		}
	}
}

// check checks that every reader finds the newest state.
func (l *lateCheckpoint) check(when string) {
	l.t.Helper()
	for _, at := range []history.Moment{{}, {FromLog: true}, {Heads: true}} {
		m, err := history.Load(l.t.Context(), l.store, "user/anne", at)
		if err != nil {
			l.t.Fatalf("%s: %v", when, err)
		}
		if !at.Heads {
			err = l.box.differs(m)
		}
		if err = errors.Join(err, m.Close()); err != nil {
			l.t.Errorf("%s: %v", when, err)
		}
	}
	l.host.expectSame("anne", l.box)
	l.host.removeIndex()
	l.host.expectSame("anne", l.box)
}

// A checkpoint is put late, after its log was replaced by another one. Readers ignore it, whether the
// other log ends before it, with its commit, or later. verify reports it, and a repair removes it.
func TestLateCheckpointInAnotherLog(t *testing.T) {
	for _, c := range []struct {
		left, n       int  // commits that are left, and then in the other log
		blocks, first bool // the checkpoint has its blocks; it arrives before the other commits
	}{
		{0, 2, false, true}, {1, 4, false, true}, {0, 5, false, false},
		{0, 4, true, true}, {1, 2, true, false}, {1, 4, true, false}, {0, 5, true, false},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			l := newLateCheckpoint(t, c.left, c.blocks)
			if c.first {
				l.arrives()
			}
			for range c.n - c.left {
				l.news()
			}
			if !c.first {
				l.arrives()
			}
			l.ignored()
		})
	}
}

func (l *lateCheckpoint) ignored() {
	l.check("a checkpoint of another log")
	newest, err := found(l.t, l.store).HighestNumber(l.t.Context())
	if own := checkLog(l.t, l.store, "user/anne"); err != nil || newest != own {
		l.t.Errorf("the highest number is %d, %v, and that of the log %d", newest, err, own)
	}
	if problems, _ := verified(l.t, l.store, false); len(problems) == 0 {
		l.t.Error("verify reports nothing")
	}
	_, err = verify.Repair(l.t.Context(), found(l.t, l.store), verify.RepairOptions{
		Lock:   repository.LockOptions{Now: func() time.Time { return l.now }},
		Others: l.host.opt.Partitions, Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if problems, _ := verified(l.t, l.store, false); len(problems) > 0 {
		l.t.Errorf("after the repair: %q", problems)
	}
	l.check("after the repair")
	l.news()
	l.check("after more mail")
}

// A log that has lost its newest commits is not another one: a checkpoint has their state.
func TestCheckpointOfLostCommits(t *testing.T) {
	l := newLateCheckpoint(t, 2, true)
	l.arrives()
	problems, _ := verified(t, l.store, false)
	if !strings.Contains(strings.Join(problems, "\n"), "the log ends with commit 2, and a checkpoint is of commit 4") {
		t.Errorf("verify: %q", problems)
	}
	if n, err := found(t, l.store).HighestNumber(t.Context()); err != nil || n != 4 {
		t.Errorf("the highest number is %d, %v, want that of the checkpoint", n, err)
	}
	l.news()
	l.check("the log continues after the checkpoint")
	if got := objects(t, l.store, history.LogKey("user/anne", 3)); len(got) > 0 {
		t.Errorf("a number was used twice: %v", got)
	}
}

// A checkpoint is ignored only if the log proves that it is of another one. A single stray or damaged
// commit proves nothing.
func TestContradicts(t *testing.T) {
	t.Parallel()
	l := newLateCheckpoint(t, 0, false)
	none := l.store.Snapshot()
	foreign := map[uint64][]byte{}
	for n := uint64(1); n <= 4; n = checkLog(t, l.store, "user/anne") + 1 {
		l.news()
	}
	for n := uint64(3); n <= 4; n++ {
		foreign[n] = l.store.Bytes(history.LogKey("user/anne", n))
	}
	l.now = l.now.Add(time.Hour)
	l.store.Rollback(none, "", false)
	for n := uint64(1); n <= 3; n = checkLog(t, l.store, "user/anne") + 1 {
		l.news()
	}
	checkpoint(t, l.store)
	cp, err := history.ReadCheckpoint(t.Context(), l.store, "user/anne", 3)
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Close()
	l.news()
	own := l.store.Snapshot()
	const left, away, other, broken = 0, 1, 2, 3
	for _, c := range []struct {
		same, next int // the commit of the checkpoint, and the next one
		want       bool
	}{
		{left, left, false},
		{left, away, false},
		{left, other, false},
		{left, broken, false},
		{other, left, false},
		{other, broken, false},
		{broken, left, false},
		{broken, other, false},
		{broken, away, false},
		{away, left, false},
		{away, broken, false},
		{away, other, true},
		{other, away, true},
		{other, other, true},
	} {
		l.store.Rollback(own, "", false)
		for n, change := range map[uint64]int{3: c.same, 4: c.next} {
			key := history.LogKey("user/anne", n)
			b := map[int][]byte{other: foreign[n], broken: []byte("damaged")}[change]
			if change != left {
				err = l.store.Delete(t.Context(), key)
			}
			if err == nil && b != nil {
				_, err = l.store.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := (&history.Log{Store: l.store, Backup: "user/anne"}).Contradicts(t.Context(), cp.Tip())
		if err != nil || got != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// Commit 4 does not follow commit 3, and a repair has recorded that it is lost. Retention then removes commit 3,
// and its checkpoint is where the log begins: the lost commit says nothing about it.
func TestCheckpointBeforeALostCommit(t *testing.T) {
	t.Parallel()
	l := newLateCheckpoint(t, 0, false)
	none := l.store.Snapshot()
	for n := uint64(1); n <= 4; n = checkLog(t, l.store, "user/anne") + 1 {
		l.news()
	}
	foreign := l.store.Bytes(history.LogKey("user/anne", 4))
	l.now = l.now.Add(time.Hour)
	l.store.Rollback(none, "", false)
	for n := uint64(1); n <= 3; n = checkLog(t, l.store, "user/anne") + 1 {
		l.news()
	}
	checkpoint(t, l.store)
	if _, err := l.store.Put(t.Context(), history.LogKey("user/anne", 4), bytes.NewReader(foreign), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := verify.Repair(t.Context(), found(t, l.store), verify.RepairOptions{
		Lock:   repository.LockOptions{Now: func() time.Time { return l.now }},
		Others: l.host.opt.Partitions, Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 3; n++ {
		l.store.Lose(history.LogKey("user/anne", n))
	}
	cp, err := history.ReadCheckpoint(t.Context(), l.store, "user/anne", 3)
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Close()
	other, err := (&history.Log{Store: l.store, Backup: "user/anne"}).Contradicts(t.Context(), cp.Tip())
	if err != nil || other {
		t.Errorf("contradicted: %v, %v", other, err)
	}
	m, err := history.Load(t.Context(), l.store, "user/anne", history.Moment{Number: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// A daemon that commits, and puts a checkpoint, while verify reads has lost nothing.
func TestVerifyBesideCheckpoint(t *testing.T) {
	t.Parallel()
	for n := firstCall(); ; n += stride() {
		l := newLateCheckpoint(t, 0, false)
		l.news()
		l.news()
		s := faultstore.New(l.store)
		s.Add(faultstore.Fault{Skip: n - 1, Count: 1, Call: func(string, string) {
			l.news()
			checkpoint(t, l.store)
		}})
		if problems, _ := verified(t, s, false); len(problems) > 0 {
			t.Errorf("checkpoint at request %d: %q", n, problems)
		}
		if s.Struck() == 0 {
			break
		}
	}
}
