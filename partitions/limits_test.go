package partitions_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// A mailbox has more records than a commit holds. Its records go into record blocks, and its
// messages into commits before the commit with the blocks, whether the messages are in packs or
// not. One message occurs again after those commits.
func TestMoreRecordsThanACommitHolds(t *testing.T) {
	t.Parallel()
	const n = 3_000
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.CommitRecords, o.InlineLimit = 2_500, 8<<10 }, store)
	box := newSource("user.anne")
	body := bytes.Repeat([]byte("x"), 16) // small, because there are many
	var first []byte
	for i := range n {
		b := fmt.Appendf(nil, "%s%07d", body, i)
		if i == 0 {
			first = b
		}
		box.deliver(b)
	}
	box.deliver(first)
	h.sync("anne", box)
	if got := checkLog(t, store, "user/anne"); got < 2 {
		t.Errorf("%d records went into %d commits", n, got)
	}
	if len(objects(t, store, "backups/user/anne/records/")) == 0 {
		t.Error("no record blocks were written")
	}
	if err := box.differs(load(t, store, "user/anne")); err != nil {
		t.Error(err)
	}
	h.expectSame("anne", box)
	h.removeIndex()
	h.expectSame("anne", box)
	h.checkIndex("anne", box)
	box.flag(box.records[n-1], `\Seen`)
	h.sync("anne", box)
	h.expectSame("anne", box)
}

// Staging passes mail of any size on without keeping it in memory.
func TestStagingIsBounded(t *testing.T) {
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.PackSize, o.MemoryLimit, o.PackBuffers = 2<<20, 8<<20, 2 }, discarding{store})
	c := h.client()
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	send := func(seed uint64, n int) {
		t.Helper()
		sum := sha1.New()
		if _, err := io.Copy(sum, endless(seed, n)); err != nil {
			t.Fatal(err)
		}
		if err := c.s.Message(t.Context(), "default", cyrus.GUID(sum.Sum(nil)), int64(n), endless(seed, n)); err != nil {
			t.Fatal(err)
		}
	}
	send(1, 4<<20)
	runtime.GC()
	runtime.ReadMemStats(&before)
	send(2, 32<<20)
	for i := range 100 {
		send(uint64(10+i), 200<<10)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("50 MiB of messages made the heap grow by %d MiB", grown>>20)
	}
}

// discarding is a store that drops packs.
type discarding struct{ objstore.Store }

func (d discarding) Put(ctx context.Context, key string, b objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if strings.HasPrefix(key, "packs/") {
		return objstore.Info{Key: key, Size: b.Size()}, nil
	}
	return d.Store.Put(ctx, key, b, o)
}

// endless returns n bytes of noise without holding them in memory.
func endless(seed uint64, n int) io.Reader {
	return io.LimitReader(&noiseReader{x: seed*2654435761 + 1}, int64(n))
}

type noiseReader struct{ x uint64 }

func (r *noiseReader) Read(p []byte) (int, error) {
	for i := range p {
		r.x ^= r.x << 13
		r.x ^= r.x >> 7
		r.x ^= r.x << 17
		p[i] = byte(r.x)
	}
	return len(p), nil
}

// Many connections share one pack buffer, and memory for few messages. No connection waits
// forever, although each holds staged mail while others need memory.
func TestManySessionsLittleMemory(t *testing.T) {
	t.Parallel()
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) {
		o.PackBuffers, o.PackSize, o.MemoryLimit, o.InlineLimit = 1, 256<<10, 2<<20, 1<<20
		o.OutageWait, o.PatientWait = time.Minute, time.Minute
	}, store)
	const sessions = 12
	var staged, wg sync.WaitGroup
	staged.Add(sessions)
	for i := range sessions {
		wg.Go(func() {
			c := &client{t, session.New(h.set, session.Who{Connection: fmt.Sprint("c", i)})}
			defer c.s.Close()
			user := fmt.Sprint("u", i)
			box := newSource("user." + user)
			_, _, err := c.getUser(user)
			for j := range 5 {
				r := box.deliver(noise(uint64(100*i+j+1), 150<<10))
				err = errors.Join(err, c.upload(t.Context(), box, r))
			}
			staged.Done()
			staged.Wait() // every session now holds staged mail
			big := box.deliver(noise(uint64(100*i+50), 1100<<10))
			err = errors.Join(err, c.upload(t.Context(), box, big), c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)))
			if err != nil {
				t.Error(err)
				return
			}
			if err := box.differs(load(t, store, "user/"+user)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// An idle connection has filled a part of the only pack. Other connections can use that pack.
func TestIdleSessionDoesNotBlockOthers(t *testing.T) {
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.PackBuffers, o.InlineLimit = 1, 1<<10 }, store)
	idle := h.client()
	box := newSource("user.anne")
	if err := idle.upload(t.Context(), box, box.deliver(mail(1, 5000))); err != nil {
		t.Fatal(err)
	}
	other := newSource("user.bert")
	for i := range 5 {
		other.deliver(mail(10+i, 5000))
	}
	h.sync("bert", other)
	idle.mustSync("anne", box)
}

// While the bucket is unreachable, the packs in memory fill up. A client that waits for a pack
// is deferred in time, and nothing is lost when the bucket is reachable again.
func TestBucketUnreachableWithFullPacks(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) {
		o.PackBuffers, o.PackSize, o.InlineLimit, o.OutageWait = 1, 64<<10, 1<<10, 30*time.Millisecond
	}, store)
	box := newSource("user.anne")
	h.sync("anne", box)
	store.SetFaults(func(op, key string) error {
		if strings.HasPrefix(key, "packs/") {
			return errors.New("unreachable")
		}
		return nil
	}, nil)
	for i := range 20 {
		box.deliver(noise(uint64(i+1), 9000))
	}
	c := h.client()
	_, err := c.sync("anne", box)
	if !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("packs cannot be put: %v, want ErrLocked", err)
	}
	c.s.Close()
	store.SetFaults(nil, nil)
	waitFor(t, func() bool {
		c := h.client()
		defer c.s.Close()
		_, err := c.sync("anne", box)
		if err != nil {
			deferredOnly(t, err)
		}
		return err == nil
	})
	h.expectSame("anne", box)
	checkBucket(t, store, "user/anne", box)
}

// If another session wants the backup, a session that has been idle for more than 30 s loses
// it, and gets ErrLocked for its next command.
func TestIdleHolderLosesItsBackup(t *testing.T) {
	var ahead atomic.Int64
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		o.OutageWait = 50 * time.Millisecond
	}, newStore())
	box := newSource("user.anne")
	box.deliver(mail(1, 500))
	idle, eager := h.client(), h.client()
	idle.mustSync("anne", box)
	if _, err := eager.sync("anne", box); !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("while another connection holds the backup: %v, want ErrLocked", err)
	}
	ahead.Store(int64(31 * time.Second))
	box.deliver(mail(2, 500))
	eager.mustSync("anne", box)
	if err := idle.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(nil)); !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("the idle connection: %v, want ErrLocked", err)
	}
	eager.s.Restart(t.Context())
	idle.s.Restart(t.Context())
	if n := idle.mustSync("anne", box); n != 0 {
		t.Errorf("the next unit of work sent %d commands, want none", n)
	}
}

// shatteredHead is the beginning of the two files of shattered.io. The two blocks that differ,
// the fourth and the fifth, follow it. With any equal tail, both files have the same SHA-1.
const shatteredHead = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01"

var shatteredBlocks = [2]string{
	"7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb76038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1",
	"7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1",
}

func colliding(t *testing.T, which int, tail []byte) []byte {
	t.Helper()
	b, err := hex.DecodeString(shatteredHead + shatteredBlocks[which])
	if err != nil {
		t.Fatal(err)
	}
	return append(b, tail...)
}

// Two messages with the same SHA-1 stay separate: a GUID of a prepared collision is never
// shared, before and after the index is rebuilt, at every size.
func TestCollidingMessagesAreNotShared(t *testing.T) {
	for _, tail := range [][]byte{[]byte("tail"), noise(3, 9000), noise(4, 1300<<10)} {
		one, two := colliding(t, 0, tail), colliding(t, 1, tail)
		if sha1.Sum(one) != sha1.Sum(two) || bytes.Equal(one, two) {
			t.Fatal("the two messages do not collide")
		}
		store := newStore()
		h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 8 << 10 }, store)
		a, b, c := newSource("user.anne"), newSource("user.bert"), newSource("user.cora")
		a.deliver(one)
		b.deliver(two)
		c.deliver(two)
		h.sync("anne", a)
		h.sync("bert", b)
		checkBucket(t, store, "user/anne", a)
		checkBucket(t, store, "user/bert", b)
		h.removeIndex()
		h.expectSame("anne", a)
		h.expectSame("bert", b)
		h.sync("cora", c)
		checkBucket(t, store, "user/cora", c)
		checkBucket(t, store, "user/anne", a)
		// A message that is sent again in the same unit of work is staged once.
		x := h.client()
		for range 3 {
			r := c.records[0]
			if err := x.upload(t.Context(), c, r); err != nil {
				t.Fatal(err)
			}
		}
		x.s.Close()
	}
}

// Checkpoints are written while sessions are active.
func TestCheckpointsWhileWorking(t *testing.T) {
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.CheckpointObject = 3 }, store)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			user := fmt.Sprint("u", i)
			box := newSource("user." + user)
			for j := range 15 {
				box.deliver(mail(100*i+j, 700))
				c := &client{t, session.New(h.set, session.Who{Connection: user})}
				_, err := c.sync(user, box)
				c.s.Close()
				if err != nil {
					t.Error(err)
				}
				if j == 7 {
					if err := h.set.Reindex(t.Context(), repository.UserName(user)); err != nil {
						t.Error(err)
					}
				}
			}
			if err := box.differs(load(t, store, "user/"+user)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	waitFor(t, func() bool {
		n, err := (&history.Log{Store: store, Backup: "user/u0"}).Checkpoints(t.Context())
		return err == nil && len(n) > 0
	})
}

// Few but long records go into record blocks as well, since a commit must stay below its
// reader's limit.
func TestLongRecordsGoIntoBlocks(t *testing.T) {
	store := newStore()
	h := newHost(t, store)
	box := newSource("user.anne")
	long := strings.Repeat("annotation ", 400_000)
	for i := range 10 {
		r := box.deliver(mail(i, 100))
		r.Annotations = append(r.Annotations, cyrus.Annotation{Entry: "/comment", Value: ptr(fmt.Sprint(i, long))})
	}
	h.sync("anne", box)
	if len(objects(t, store, "backups/user/anne/records/")) == 0 {
		t.Error("no record blocks were written")
	}
	h.expectSame("anne", box)
	if err := box.differs(load(t, store, "user/anne")); err != nil {
		t.Error(err)
	}
}

// The index accepts every item that the log accepts, even a script of angle brackets, which
// does not grow there.
func TestLargeItemsFitTheIndex(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	script := cyrus.Sieve{UserID: "anne", Filename: "a.script", LastUpdate: 1, Content: strings.Repeat("<", 12<<20)}
	if err := c.s.ApplySieve(t.Context(), script); err != nil {
		t.Fatal(len(err.Error()))
	}
	if err := c.s.ApplySub(t.Context(), "anne", "user.anne", true); err != nil {
		t.Fatal(len(err.Error()))
	}
}
