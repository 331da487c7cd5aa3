package partitions_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// damageWorld is a partition with two users. Each user has every kind of object: packs, bodies
// in the log, a checkpoint, and commits before, at and after it.
type damageWorld struct {
	t     *testing.T
	later time.Duration // offset of every clock
	store *memstore.Store
	snap  memstore.Snapshot
	index string // a copy of the host's index
	boxes map[string][]*source
	packs map[string]string // one pack of each user
}

func newDamageWorld(t *testing.T) *damageWorld {
	w := &damageWorld{t: t, boxes: map[string][]*source{}, packs: map[string]string{}}
	w.store = memstore.New(w.now)
	h := w.host()
	for i, user := range []string{"anne", "bob"} {
		inbox, sent := newSource("user."+user), newSource("user."+user+".Sent")
		inbox.deliver(mail(100*i+1, 9000)) // in a pack
		inbox.deliver(mail(100*i+2, 9000))
		h.sync(user, inbox)
		w.packs[user] = newest(packsOf(t, w.store), w.packs)
		sent.deliver(mail(100*i+3, 500)) // in the log
		h.sync(user, inbox, sent)
		inbox.flag(inbox.records[0], `\Seen`)
		h.sync(user, inbox, sent)
		w.checkpoint(user)
		inbox.deliver(mail(100*i+4, 600))
		h.sync(user, inbox, sent)
		sent.deliver(mail(100*i+5, 700))
		h.sync(user, inbox, sent)
		w.boxes[user] = []*source{inbox, sent}
		l := lock(t, w.found(user), repository.LockOptions{Now: w.now}) // so that there is a lock.json
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		u, err := repository.BeginUpkeep(t.Context(), w.found(user), repository.LockOptions{Now: w.now}) // and an upkeep.json
		if err == nil {
			err = u.End(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	u, err := repository.BeginCollection(t.Context(), w.Config(), repository.LockOptions{Now: w.now})
	if err == nil {
		err = u.End(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, w.store, history.CondemnedKey, b)
	for user := range w.boxes {
		h.expectSame(user, w.boxes[user]...)
	}
	w.index = h.saveIndex()
	h.stop()
	w.snap = w.store.Snapshot()
	return w
}

// newest returns the key that is not among the values of a map.
func newest(keys []string, old map[string]string) string {
	for _, k := range keys {
		known := false
		for _, o := range old {
			known = known || o == k
		}
		if !known {
			return k
		}
	}
	return ""
}

func (w *damageWorld) now() time.Time { return time.Now().Add(w.later) }

func (w *damageWorld) host() *host {
	return newHostWith(w.t, func(o *partitions.Options) { o.Now = w.now; o.NoCheckpoints = true; o.InlineLimit = 4 << 10 }, w.store)
}

func (w *damageWorld) Config() repository.Config {
	return repository.Config{Name: "p0", Location: "memory", Store: w.store}
}

func (w *damageWorld) found(user string) *repository.Found {
	w.t.Helper()
	f, err := repository.FindPath(w.t.Context(), w.Config(), "user/"+user)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *damageWorld) checkpoint(user string) {
	w.t.Helper()
	m := load(w.t, w.store, "user/"+user)
	defer m.Close()
	if _, err := m.WriteCheckpoint(w.t.Context(), pack.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// key returns the key of a user's object of a kind.
func (w *damageWorld) key(kind, user string) string {
	base := "backups/user/" + user + "/"
	switch kind {
	case "pack":
		return w.packs[user]
	case "newest commit":
		keys := w.store.Keys(base + "log/")
		return keys[len(keys)-1]
	case "first commit":
		return history.LogKey("user/"+user, 1)
	case "commit before the checkpoint":
		return history.LogKey("user/"+user, 2)
	case "commit at the checkpoint":
		return history.LogKey("user/"+user, 3)
	case "commit after the checkpoint":
		return history.LogKey("user/"+user, 4)
	case "checkpoint":
		return w.store.Keys(base + "checkpoints/")[0]
	case "record blocks":
		return w.store.Keys(base + "records/")[0]
	case "backup.json", "lock.json":
		return base + kind
	case "backup's upkeep.json":
		return base + "upkeep.json"
	}
	return kind // one object for the partition
}

// kindsOfObjects are all kinds of objects of a partition.
var kindsOfObjects = []string{"pack", "newest commit", "first commit", "commit before the checkpoint", "commit at the checkpoint",
	"commit after the checkpoint", "checkpoint", "record blocks", "backup.json", "lock.json", "backup's upkeep.json", "condemned.json", "repository.json",
	"upkeep.json"}

// spoil damages an object of anne's. It returns false if the damage does not apply to the kind.
func (w *damageWorld) spoil(kind, damage string) bool {
	key := w.key(kind, "anne")
	perPartition := key == kind
	switch damage {
	case "deleted":
		w.store.Lose(key)
	case "truncated":
		w.store.Truncate(key, len(w.store.Bytes(key))/2)
	case "flipped":
		w.store.Flip(key, 40)
	case "swapped":
		if perPartition {
			return false
		}
		w.store.Swap(key, w.key(kind, "bob"))
	case "copied":
		if perPartition {
			return false
		}
		w.store.Copy(key, w.elsewhere(kind, key))
	}
	return true
}

// elsewhere returns a key under which the object does not belong.
func (w *damageWorld) elsewhere(kind, key string) string {
	switch {
	case kind == "pack":
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte("other")))
		return "packs/" + sum[:2] + "/" + sum + ".tar.zst"
	case strings.HasSuffix(kind, "commit") || strings.HasPrefix(kind, "commit"):
		return history.LogKey("user/anne", 9)
	case kind == "checkpoint":
		return history.CheckpointKey("user/anne", 2)
	case kind == "record blocks":
		return history.RecordsKey("user/anne", sha256.Sum256([]byte("other")))
	case kind == "lock.json", strings.HasSuffix(kind, "upkeep.json"):
		return w.key(kind, "bob")
	}
	return "backups/user/carol/" + filepath.Base(key) // a backup that does not exist
}

// repair does the same as ctl_backups verify --repair -A.
func (w *damageWorld) repair() (out []string) {
	w.t.Helper()
	done, err := verify.RepairRepository(w.t.Context(), w.Config(), []repository.Config{w.Config()}, verify.RepositoryOptions{Software: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	if done != "" {
		out = append(out, done)
	}
	for _, user := range []string{"anne", "bob", "carol"} {
		list, err := repository.Remains(w.t.Context(), []repository.Config{w.Config()}, repository.UserName(user))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range list {
			_, err := verify.Repair(w.t.Context(), f, w.repairing(func(line string) { out = append(out, user+": "+line) }))
			if err != nil {
				w.t.Fatalf("repair %s: %v\n%s", user, err, strings.Join(out, "\n"))
			}
		}
	}
	return out
}

func (w *damageWorld) repairing(line func(string)) verify.RepairOptions {
	return verify.RepairOptions{
		Lock: repository.LockOptions{Owner: "test", Now: w.now}, Others: []repository.Config{w.Config()},
		Problem: func(p verify.Problem) {
			if !p.Lost && !p.Missing {
				line("problem: " + p.String())
			}
		},
		Report: func(r verify.Change) { line(r.String()) },
	}
}

// healed syncs once, and compares everything with the source. With alone, bob's backup must be
// undamaged.
func (w *damageWorld) healed(h *host, alone bool) {
	w.t.Helper()
	for user, boxes := range w.boxes {
		if user == "bob" && alone {
			h.expectSame(user, boxes...)
			continue
		}
		h.sync(user, boxes...)
	}
	for user, boxes := range w.boxes {
		h.expectSame(user, boxes...)
		checkBucket(w.t, w.store, "user/"+user, boxes...).Close()
		done, err := verify.Run(w.t.Context(), w.found(user), verify.Options{Report: func(p verify.Problem) {
			if !p.Lost {
				w.t.Errorf("%s: verify: %v", user, p)
			}
		}})
		if err != nil || done.Damaged > 0 {
			w.t.Errorf("%s: verify: %+v, %v", user, done, err)
		}
	}
}

// After any damage to one object, verify --repair and one sync make both users' backups whole,
// whether the host has kept its index or not.
func TestRepairEveryDamage(t *testing.T) {
	third, sample := rand.IntN(3), stride() > 1
	w := newDamageWorld(t)
	for i, kind := range kindsOfObjects {
		for j, damage := range []string{"deleted", "truncated", "flipped", "swapped", "copied"} {
			if sample && (i+j)%3 != third {
				continue
			}
			t.Run(kind+" "+damage, func(t *testing.T) {
				t.Parallel()
				w.in(t).survives(kind, damage, (i+j)%2 == 0)
			})
		}
	}
}

// in copies the world into a new store.
func (w *damageWorld) in(t *testing.T) *damageWorld {
	c := *w
	c.t = t
	c.store = memstore.New(c.now)
	c.store.Rollback(w.snap, "", true)
	return &c
}

func (w *damageWorld) survives(kind, damage string, kept bool) {
	w.t.Helper()
	if !w.spoil(kind, damage) {
		w.t.Skip("the partition has only one such object")
	}
	w.later += 5 * time.Minute // longer than a lock lasts without renewal
	out := w.repair()
	h := w.host()
	if kept {
		h.restoreIndex(w.index)
	}
	w.healed(h, damage != "swapped" && kind != "repository.json")
	h.stop()
	if w.t.Failed() {
		w.t.Logf("index kept: %v\n%s", kept, strings.Join(out, "\n"))
	}
}

// After a pack is lost, the source is asked for exactly the messages of that pack.
func TestRepairRequestsLostMessages(t *testing.T) {
	w := newDamageWorld(t)
	w.store.Lose(w.packs["anne"])
	out := w.repair()
	want := "anne: waits: user.anne: 2 message bodies lost: the next sync asks the mail server again"
	if !slices.Contains(out, want) {
		t.Errorf("the report lacks %q:\n%s", want, strings.Join(out, "\n"))
	}
	h := w.host()
	c := h.client()
	if n := c.mustSync("anne", w.boxes["anne"]...); n != 3 {
		t.Errorf("the next sync sends %d commands, want two messages and their mailbox", n)
	}
	c.s.Close()
	w.healed(h, true)
}

// A body that another backup contains, in this partition or in another, is copied from there.
// The source is asked for nothing, and bodies that only the history refers to are restored,
// too.
func TestRepairFromOtherCopies(t *testing.T) {
	stores := []*memstore.Store{newStore(), newStore()}
	var parts []repository.Config
	for i, s := range stores {
		parts = append(parts, repository.Config{Name: fmt.Sprint("p", i), Location: "memory", Store: s})
	}
	shared, gone := mail(1, 9000), mail(2, 9000)
	for i, s := range stores {
		h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true; o.InlineLimit = 4 << 10 }, s)
		inbox := newSource(fmt.Sprint("user.anne", i))
		r := inbox.deliver(shared)
		inbox.deliver(gone)
		h.sync(fmt.Sprint("anne", i), inbox)
		inbox.flag(r, `\Expunged`) // so that only the history refers to it
		h.sync(fmt.Sprint("anne", i), inbox)
		h.stop()
	}
	stores[0].Lose(packsOf(t, stores[0])[0])
	f, err := repository.FindPath(t.Context(), parts[0], "user/anne0")
	if err != nil {
		t.Fatal(err)
	}
	done, err := verify.Repair(t.Context(), f, verify.RepairOptions{Others: parts, Problem: func(verify.Problem) {}, Report: func(r verify.Change) {
		if r.Outcome != verify.Repaired || !strings.Contains(r.Text, "copied from p1:user/anne1") {
			t.Errorf("%v", r)
		}
	}})
	if err != nil || done.Found != 2 || done.Left.Damaged != 0 || done.Left.Missing != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	checkBodies(t, stores[0], "user/anne0")
}

// A body without any copy that only the history refers to is recorded as lost, once.
func TestRepairRecordsLostHistory(t *testing.T) {
	w := newDamageWorld(t)
	h := w.host()
	inbox := w.boxes["anne"][0].clone()
	gone := inbox.records[1].GUID
	inbox.flag(inbox.records[1], `\Expunged`)
	h.sync("anne", inbox, w.boxes["anne"][1])
	h.stop()
	w.store.Lose(w.packs["anne"])
	out := w.repair()
	want := "anne: lost: message " + gone.String() + ": only history refers to it, and no other copy exists"
	if !slices.Contains(out, want) {
		t.Errorf("the report lacks %q:\n%s", want, strings.Join(out, "\n"))
	}
	if out = w.repair(); len(out) > 0 {
		t.Errorf("a second repair: %q", out)
	}
}

// The backup of a newer program would look damaged. It is neither verified nor repaired.
func TestRepairLeavesNewerBackup(t *testing.T) {
	w := newDamageWorld(t)
	key := repository.BackupInfoKey("user/anne")
	newer := bytes.Replace(w.store.Bytes(key), []byte(`"version": 1`), []byte(`"version": 3`), 1)
	f := w.found("anne")
	replace(t, w.store, key, newer)
	before := w.store.Snapshot()
	if _, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("%s", p) }}); !errors.Is(err, repository.ErrVersion) {
		t.Errorf("verify: %v", err)
	}
	_, err := verify.Repair(t.Context(), f, w.repairing(func(line string) { t.Error(line) }))
	if changed := w.store.Changed(before); !errors.Is(err, repository.ErrVersion) || len(changed) > 0 {
		t.Errorf("%v, changed %q", err, changed)
	}
}

// A repair that is interrupted at any call of the store gives the same result when it is
// repeated.
func TestRepairInterrupted(t *testing.T) {
	t.Parallel()
	w := newDamageWorld(t)
	damage := func(c *damageWorld) {
		c.store.Lose(c.key("commit before the checkpoint", "anne"))
		c.store.Flip(c.key("checkpoint", "anne"), 40)
		c.store.Truncate(c.packs["anne"], 10000)
		c.store.Truncate("backups/user/anne/backup.json", 30)
	}
	n := firstCall()
	for ; ; n += stride() + n/5 {
		c := w.in(t)
		damage(c)
		c.later += 5 * time.Minute
		before, reached := fault(n, 1, errDenied)
		c.store.SetFaults(before, nil)
		list := []*repository.Found{{Partition: c.Config(), Path: "user/anne", Info: repository.BackupInfo{Kind: repository.KindUser, Name: "anne"}}}
		_, err := verify.Repair(t.Context(), list[0], c.repairing(func(string) {}))
		c.store.SetFaults(nil, nil)
		if !reached() {
			break
		}
		c.later += 5 * time.Minute
		out := c.repair()
		if err == nil && len(out) > 0 && n > 1 {
			t.Errorf("call %d: the repair continued after an error, and left %q", n, out)
		}
		h := c.host()
		c.healed(h, true)
		h.stop()
		if t.Failed() {
			t.Fatalf("call %d (%v):\n%s", n, err, strings.Join(out, "\n"))
		}
	}
	if n < 50 {
		t.Errorf("the repair has only %d calls", n)
	}
}

// A backup's objects are a copy of another user's. They are set aside, and can be read there as
// that user's backup. The user whose name the copy had starts a new backup, and the other user
// is unaffected.
func TestRepairOfCopiedBackup(t *testing.T) {
	w := newDamageWorld(t)
	for _, key := range w.store.Keys("backups/user/anne/") {
		w.store.Copy(key, strings.Replace(key, "user/anne", "user/carol", 1))
	}
	out := w.repair()
	if len(out) == 0 || !strings.Contains(out[len(out)-1], "because the objects belong to the backup user/anne") {
		t.Errorf("%s", strings.Join(out, "\n"))
	}
	for f, err := range repository.BrowseAside(t.Context(), w.Config()) {
		if err != nil || !strings.HasPrefix(f.Where(), "set-aside/user/carol/") {
			t.Fatalf("%+v, %v", f, err)
		}
		checkBucket(t, f.Partition.Store, f.Path, w.boxes["anne"]...).Close()
	}
	h := w.host()
	carols := newSource("user.carol")
	carols.deliver(mail(900, 500))
	h.sync("carol", carols)
	h.expectSame("carol", carols)
	h.expectSame("anne", w.boxes["anne"]...)
}

// The commit that introduced a message is lost. The server asks the source for the message of
// each record that refers to it.
func TestRepairOfUnknownMessages(t *testing.T) {
	w := &damageWorld{t: t, boxes: map[string][]*source{}}
	w.store = memstore.New(w.now)
	h := w.host()
	inbox, sent := newSource("user.anne"), newSource("user.anne.Sent")
	body := mail(1, 500)
	inbox.deliver(body)
	h.sync("anne", inbox)
	sent.deliver(body) // known by now: this commit only refers to it
	h.sync("anne", inbox, sent)
	h.stop()
	w.boxes["anne"] = []*source{inbox, sent}
	w.store.Lose(history.LogKey("user/anne", 1))
	out := w.repair()
	if want := "anne: waits: user.anne.Sent: 1 message body lost: the next sync asks the mail server again"; !slices.Contains(out, want) {
		t.Errorf("the report lacks %q:\n%s", want, strings.Join(out, "\n"))
	}
	if problems, _ := verified(t, w.store, false); slices.ContainsFunc(problems, func(p string) bool {
		return !strings.Contains(p, "known to be lost") && !strings.Contains(p, "is missing")
	}) {
		t.Errorf("after the repair: %q", problems)
	}
	w.healed(w.host(), false)
}
