package partitions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// story is a sequence of changes on a mail server. Its sync_client sends them in steps, and can
// repeat each step until it is answered with OK.
type story struct {
	id                           int // each story has its own users and mail
	inbox, work, big, bert, cora *source
	bertName                     string // the user that holds bert, without id
	coraGone                     bool
	items                        bool
}

func newStory(id int) *story {
	s := &story{id: id, bertName: "bert"}
	for b, name := range map[**source]string{&s.inbox: "anne", &s.bert: "bert", &s.cora: "cora"} {
		*b = newSource("user." + s.user(name))
	}
	s.work, s.big = newSource(s.inbox.name+".Work"), newSource(s.inbox.name+".Big")
	for i := range 3 {
		s.inbox.deliver(s.mail(i, 900)) // inline
	}
	for i := range 12 {
		s.work.deliver(s.mail(100+i, 3000)) // packed
	}
	s.big.deliver(noise(uint64(id)+7, 1200<<10)) // in pieces
	s.bert.deliver(s.mail(200, 900))
	s.cora.deliver(s.mail(300, 900))
	return s
}

func (s *story) user(name string) string { return fmt.Sprint(name, s.id) }

func (s *story) mail(i, n int) []byte { return mail(1000*s.id+i, n) }

// step changes the source, and then sends the change.
type step struct {
	name   string
	change func(s *story)
	send   func(ctx context.Context, s *story, c *client) error
}

var steps = []step{
	{"first sync", func(*story) {}, func(_ context.Context, s *story, c *client) error {
		_, err := c.sync(s.user("anne"), s.inbox, s.work, s.big)
		return err
	}},
	{"delta", func(s *story) {
		s.inbox.flag(s.inbox.records[0], `\Seen`)
		s.inbox.flag(s.inbox.records[1], `\Expunged`)
		s.inbox.deliver(s.mail(50, 900))
	}, func(_ context.Context, s *story, c *client) error {
		_, err := c.sync(s.user("anne"), s.inbox, s.work, s.big)
		return err
	}},
	{"items", func(s *story) { s.items = true }, func(ctx context.Context, s *story, c *client) error {
		return errors.Join(
			c.s.ApplyQuota(ctx, quotaOf(s.inbox.name, 1000)),
			c.s.ApplySub(ctx, s.user("anne"), s.work.name, true),
			c.s.ApplySeen(ctx, seenOf(s.user("anne"), "abc", "1:3")),
		)
	}},
	{"other users", func(*story) {}, func(_ context.Context, s *story, c *client) error {
		if _, err := c.sync(s.user("bert"), s.bert); err != nil {
			return err
		}
		_, err := c.sync(s.user("cora"), s.cora)
		return err
	}},
	{"rename", func(s *story) { s.bert.name, s.bertName = "user."+s.user("berti"), "berti" }, func(ctx context.Context, s *story, c *client) error {
		err := c.s.ApplyRename(ctx, cyrus.Rename{Old: "user." + s.user("bert"), New: s.bert.name, Partition: "default", UIDValidity: s.bert.validity})
		if err != nil && !errors.Is(err, cyrus.ErrNonexistent) { // the server applied an earlier attempt, and its answer was lost
			return err
		}
		_, err = c.sync(s.user("berti"), s.bert)
		return err
	}},
	{"unuser", func(s *story) { s.coraGone = true }, func(ctx context.Context, s *story, c *client) error {
		return c.s.ApplyUnuser(ctx, s.user("cora"))
	}},
}

// check compares the bucket and the index with the source after a step.
func (s *story) check(h *host, store objstore.Store, upTo int) {
	t := h.t
	t.Helper()
	paths := map[string][]*source{"anne": {s.inbox, s.work, s.big}}
	if upTo >= 3 {
		paths[s.bertName] = []*source{s.bert}
		paths["cora"] = []*source{s.cora}
	}
	if upTo >= 4 {
		paths["bert"] = nil
	}
	if s.coraGone {
		paths["cora"] = nil
	}
	for name, boxes := range paths {
		user := s.user(name)
		checkLog(t, store, "user/"+user)
		m := load(t, store, "user/"+user)
		for _, b := range boxes {
			if err := b.differs(m); err != nil {
				t.Error(err)
			}
		}
		checkBodies(t, store, "user/"+user)
		h.checkIndex(user, boxes...)
		if len(boxes) > 0 {
			h.expectSame(user, boxes...)
		}
	}
	if s.items {
		c := h.client()
		defer c.s.Close()
		if got := c.items(s.user("anne")); len(got) != 3 {
			t.Errorf("after the items: %q", got)
		}
	}
}

// run sends the steps from the given one on, each on a new connection. It stops at the first
// step that fails.
func (s *story) run(h *host, from int) (step int, err error) {
	for i, st := range steps[from:] {
		st.change(s)
		if err := s.send(h, from+i); err != nil {
			return from + i, err
		}
	}
	return len(steps), nil
}

func (s *story) send(h *host, i int) error {
	c := h.client()
	defer c.s.Close()
	return steps[i].send(h.t.Context(), s, c)
}

// storyHost is a host for stories. Its sizes are small, so that little mail takes every code
// path, and all commands have the same timeout.
func storyHost(t *testing.T, wait time.Duration, stores ...objstore.Store) *host {
	return newHostWith(t, func(o *partitions.Options) {
		o.InlineLimit, o.PackSize, o.NoCheckpoints = 8<<10, 512<<10, true
		o.OutageWait, o.PatientWait = wait, wait
	}, stores...)
}

// withRepository returns a store with an empty repository. Other tests cover the probe.
func withRepository(t *testing.T) *memstore.Store {
	t.Helper()
	s := newStore()
	h := newHost(t, s)
	h.sync("somebody", newSource("user.somebody"))
	h.stop()
	return s
}

// fault breaks k calls, starting with the n-th.
func fault(n, k int, err error) (memstore.Fault, func() bool) {
	var mu sync.Mutex
	seen := 0
	return func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			if seen++; seen >= n && seen < n+k {
				return err
			}
			return nil
		}, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return seen >= n
		}
}

// partly checks that every mailbox of a user in the bucket is in the state before or after the
// refused step: no change is half visible.
func partly(t *testing.T, store objstore.Store, user string, before, after []*source) {
	t.Helper()
	m := load(t, store, "user/"+user)
	if m == nil {
		return
	}
	for i := range after {
		mb, err := m.Mailbox(after[i].uniqueid)
		if err != nil {
			t.Fatal(err)
		}
		if mb == nil && before == nil {
			continue
		}
		errAfter := after[i].differs(m)
		if errAfter == nil || before != nil && before[i].differs(m) == nil {
			continue
		}
		t.Errorf("%s is neither in its former nor in its new state: %v", after[i].name, errAfter)
	}
}

func annesBoxes(s *story) []*source {
	return []*source{s.inbox.clone(), s.work.clone(), s.big.clone()}
}

// tryStory runs the story with k faults, starting with the n-th call, and continues after each
// refusal. It reports whether the story reached the n-th call.
func tryStory(h *host, store *memstore.Store, id, n, k int, after bool, injected error) (reached bool) {
	t := h.t
	s := newStory(id)
	f, done := fault(n, k, injected)
	if after {
		store.SetFaults(nil, f)
	} else {
		store.SetFaults(f, nil)
	}
	var before []*source
	next := 0
	for refusals := 0; next < len(steps); {
		if next > 0 {
			before = annesBoxes(s)
		}
		failed, err := s.run(h, next)
		if err == nil {
			break
		}
		if refusals++; refusals > k+20 {
			t.Fatalf("step %s fails forever: %v", steps[failed].name, err)
		}
		if k == 1 && h.opt.OutageWait > time.Second && objstore.IsTemporary(err) {
			t.Errorf("step %s: not retried after one fault: %v", steps[failed].name, err)
		}
		if failed != next {
			before = nil
		}
		store.SetFaults(nil, nil)
		if failed <= 1 && (failed == 0 || failed == next) {
			partly(t, store, s.user("anne"), before, annesBoxes(s))
		}
		for _, name := range []string{"anne", "bert", "berti", "cora"} {
			checkLog(t, store, "user/"+s.user(name))
			checkBodies(t, store, "user/"+s.user(name))
		}
		if after {
			store.SetFaults(nil, f)
		} else {
			store.SetFaults(f, nil)
		}
		// The client tries again with the same changes.
		if err := s.send(h, failed); err != nil {
			for i := 0; err != nil; i++ {
				if i > k+20 {
					t.Fatalf("step %s fails forever: %v", steps[failed].name, err)
				}
				err = s.send(h, failed)
			}
		}
		next = failed + 1
	}
	store.SetFaults(nil, nil)
	s.check(h, store, len(steps))
	return done()
}

var errDenied = &objstore.Error{Op: "test", Key: "key", Err: objstore.ErrDenied}

// Every storage call of a session fails once, or its answer is lost once.
func TestEveryCallFailsOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		after    bool
		injected error
	}{
		{"temporary", false, memstore.ErrInjected},
		{"answer lost", true, memstore.ErrInjected},
		{"denied", false, errDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := withRepository(t)
			h := storyHost(t, 10*time.Second, store)
			n := firstCall()
			for tryStory(h, store, n, n, 1, c.after, c.injected) {
				if t.Failed() {
					t.Fatalf("call %d", n)
				}
				n += stride()
			}
			if n < 25 {
				t.Errorf("the story has only %d calls", n-1)
			}
		})
	}
}

// An outage lasts longer than every timeout: commands are refused, and succeed again after the
// outage.
func TestOutages(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("answers lost %v", after), func(t *testing.T) {
			t.Parallel()
			store := withRepository(t)
			h := storyHost(t, 40*time.Millisecond, store)
			for n := firstCall(); tryStory(h, store, n, n, 4, after, memstore.ErrInjected); n += 3 * stride() {
				if t.Failed() {
					t.Fatalf("calls from %d on", n)
				}
			}
		})
	}
}

// The first command on an empty store probes the store. An error there does not mean that the
// store lacks a capability.
func TestProbeUnderFaults(t *testing.T) {
	t.Parallel()
	for n := firstCall(); ; n += stride() {
		store := newStore()
		h := newHostWith(t, func(o *partitions.Options) { o.OutageWait = 10 * time.Second }, store)
		f, done := fault(n, 1, memstore.ErrInjected)
		if n%2 == 0 {
			store.SetFaults(nil, f)
		} else {
			store.SetFaults(f, nil)
		}
		inbox := newSource("user.anne")
		h.sync("anne", inbox)
		store.SetFaults(nil, nil)
		c := repositoryInfo(t, store).Capabilities
		if !c.IfAbsent || !c.IfAbsentRace || !c.IfMatch || !c.Range || !c.Suffix || !c.ListOrder {
			t.Fatalf("call %d failed once: the recorded capabilities are %+v", n, c)
		}
		reached := done()
		h.stop()
		if !reached {
			return
		}
	}
}

func repositoryInfo(t *testing.T, s objstore.Store) (r repository.Info) {
	t.Helper()
	o, err := s.Get(t.Context(), "repository.json", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := json.NewDecoder(o).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A refused command leaves only backup.json in the bucket.
func TestRefusedCommandLeavesNothing(t *testing.T) {
	store := withRepository(t)
	h := storyHost(t, time.Second, store)
	before := objects(t, store, "")
	store.SetFaults(func(op, key string) error {
		if op == "put" && key == history.LogKey("user/anne0", 1) {
			return errDenied
		}
		return nil
	}, nil)
	s := newStory(0)
	c := h.client()
	if _, err := c.sync(s.user("anne"), s.inbox, s.work, s.big); !errors.Is(err, objstore.ErrDenied) {
		t.Fatalf("the commit was denied, the client received %v", err)
	}
	if st, _, err := c.getUser(s.user("anne")); err != nil || len(st) != 0 {
		t.Errorf("after the refusal the index shows %v, %v", st, err)
	}
	for _, k := range objects(t, store, "") {
		if !slices.Contains(before, k) && k != "backups/user/anne0/backup.json" {
			t.Errorf("the refused command left %s", k)
		}
	}
}

// The CRC after a commit differs from the client's, and the resync that follows cannot be
// committed. The client sends the same head again, and then the resync succeeds.
func TestRefusedResync(t *testing.T) {
	store := withRepository(t)
	h := newHost(t, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	inbox.deliver(mail(2, 500))
	lost := inbox.clone() // a record is lost on the way
	lost.records = lost.records[:1]
	store.SetFaults(func(op, key string) error {
		if op == "put" && key == history.LogKey("user/anne", 3) {
			return errDenied
		}
		return nil
	}, nil)
	c := h.client()
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	crc := lost.crc()
	since := cyrus.Since{Set: true, ModSeq: lost.modseq - 1, CRC: crc.Basic, CRCAnnot: crc.Annot}
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), since, seq(nil)); err == nil {
		t.Fatal("the resync was not denied")
	}
	store.SetFaults(nil, nil)
	c.s.Close()
	h.sync("anne", inbox)
	h.sync("anne", inbox)
	h.expectSame("anne", inbox)
	checkBucket(t, store, "user/anne", inbox)
}
