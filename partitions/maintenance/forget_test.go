package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// forgetful is a past whose writer also remembers the live content at each commit.
type forgetful struct {
	*past
	lives map[uint64]string               // live content
	used  map[uint64]map[cyrus.GUID]int64 // until when each message was live
	boxes map[string]bool                 // every mailbox that ever was
	kept  map[cyrus.GUID]bool             // messages whose tombstones were sent again
	until time.Time
	stale *maintenance.StaleBlocks // what Sweep has found
	plain bool                     // no odd commits
}

func newForgetful(t *testing.T) *forgetful {
	return &forgetful{past: newPast(t), lives: map[uint64]string{}, used: map[uint64]map[cyrus.GUID]int64{}, boxes: map[string]bool{}, kept: map[cyrus.GUID]bool{}}
}

// note remembers the newest state.
func (w *forgetful) note() {
	w.t.Helper()
	w.lives[w.tip.Number] = w.live(w.fold)
	used := map[cyrus.GUID]int64{}
	for box, err := range w.fold.Mailboxes() {
		w.must(err)
		w.boxes[box.UniqueID] = true
		for r, err := range w.fold.Records(box.UniqueID, 0) {
			w.must(err)
			at := int64(math.MaxInt64)
			if r.Expunged != 0 {
				at = r.Expunged
			}
			if !box.Deleted.IsZero() {
				at = min(at, box.Deleted.Unix())
			}
			used[r.GUID] = max(used[r.GUID], at)
		}
	}
	w.used[w.tip.Number] = used
}

// live returns the live content of a state.
func (w *forgetful) live(m *history.Mem) string {
	w.t.Helper()
	var b strings.Builder
	put := func(v any) {
		line, err := history.MarshalState(v)
		w.must(err)
		b.Write(line)
		b.WriteByte('\n')
	}
	for box, err := range m.Mailboxes() {
		w.must(err)
		if !box.Deleted.IsZero() {
			continue
		}
		head := *box
		head.Records = 0 // tombstones, too
		put(&head)
		for r, err := range m.Records(box.UniqueID, 0) {
			w.must(err)
			if r.Expunged != 0 {
				continue
			}
			put(r)
			msg, err := m.Message(r.GUID)
			w.must(err)
			put(msg)
		}
	}
	for _, kind := range history.ItemKinds() {
		for i, err := range m.Items(kind) {
			w.must(err)
			if i.Deleted.IsZero() {
				put(i)
			}
		}
	}
	return b.String()
}

// odd makes a commit that refers to what may be deleted.
func (w *forgetful) odd() {
	w.t.Helper()
	var all, gone []*history.RecordState
	var dead []string
	in := map[*history.RecordState]string{}
	for box, err := range w.fold.Mailboxes() {
		w.must(err)
		if !box.Deleted.IsZero() {
			dead = append(dead, box.UniqueID)
		}
		for r, err := range w.fold.Records(box.UniqueID, 0) {
			w.must(err)
			in[r] = box.UniqueID
			all = append(all, r)
			if r.Expunged != 0 {
				gone = append(gone, r)
			}
		}
	}
	pick := func(list []*history.RecordState) *history.RecordState { return list[w.random.IntN(len(list))] }
	switch w.random.IntN(4) {
	case 0, 1: // a message arrives again: its commit does not repeat it
		if len(all) == 0 {
			return
		}
		r := *pick(all)
		w.uids["inbox"]++
		r.UID, r.Flags = w.uids["inbox"], []string{}
		w.past.boxes["inbox"] = append(w.past.boxes["inbox"], r.UID)
		w.commit(&history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{&r.Record}})
	case 2: // a tombstone is sent again
		if len(gone) == 0 {
			return
		}
		r := pick(gone)
		w.kept[r.GUID] = true
		w.commit(&history.RecordsEvent{UniqueID: in[r], Records: []*cyrus.Record{&r.Record}})
	case 3: // a deleted mailbox is back
		if len(dead) == 0 {
			return
		}
		id := dead[w.random.IntN(len(dead))]
		w.past.boxes[id] = nil
		for r, err := range w.fold.Records(id, 0) {
			w.must(err)
			if r.Expunged == 0 {
				w.past.boxes[id] = append(w.past.boxes[id], r.UID)
			}
		}
		w.commit(mailbox(id, "user.anne."+id))
	}
}

// live makes some days of random commits.
func (w *forgetful) liveFor(days int) {
	for range days {
		for range 1 + w.random.IntN(4) {
			if !w.plain && w.random.IntN(3) == 0 {
				w.odd()
			} else {
				w.act()
			}
			if w.lives[w.tip.Number] == "" {
				w.note()
			}
			w.hours(w.random.IntN(4))
		}
		w.hours(12)
		if w.random.IntN(4) == 0 {
			w.checkpoint()
		}
		if w.random.IntN(3) == 0 {
			w.merge()
		}
	}
}

func (w *forgetful) forgetOptions() maintenance.ForgetOptions {
	return maintenance.ForgetOptions{RetainOptions: w.options(), Until: w.until, Stale: w.stale,
		Found: func(_ context.Context, found *maintenance.StaleBlocks) error { w.stale = found; return nil },
		Merge: maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(w.now, 48*time.Hour)}}
}

// upkeep calls fn with the upkeep of the backup.
func (w *forgetful) upkeep(fn func(*repository.Found, *repository.Upkeep) error) error {
	f := *w.found
	f.Partition.Store = w.store
	u, err := repository.BeginUpkeep(w.t.Context(), &f, w.options().Lock)
	if err != nil {
		return err
	}
	return errors.Join(fn(&f, u), u.End(w.t.Context()))
}

func (w *forgetful) forget() (done maintenance.RetainResult, err error) {
	err = w.upkeep(func(f *repository.Found, u *repository.Upkeep) error {
		done, err = maintenance.Forget(w.t.Context(), f, u, w.forgetOptions())
		return err
	})
	return done, err
}

func (w *forgetful) mustForget() maintenance.RetainResult {
	w.t.Helper()
	done, err := w.forget()
	w.must(err)
	w.renew()
	return done
}

// renew follows the rest of the log.
func (w *forgetful) renew() {
	w.t.Helper()
	w.must(w.fold.Close())
	var err error
	w.fold, err = w.found.Load(w.t.Context(), history.Moment{})
	w.must(err)
	w.tip = w.fold.Tip()
	w.times[w.tip.Number] = w.tip.Time
	w.note()
}

func (w *forgetful) sweep() (out maintenance.Swept) {
	w.t.Helper()
	w.must(w.upkeep(func(f *repository.Found, u *repository.Upkeep) (err error) {
		out, err = maintenance.Sweep(w.t.Context(), f, u, w.forgetOptions())
		return err
	}))
	w.after(out)
	return out
}

// after forgets what Sweep has found, if a checkpoint has appeared since.
func (w *forgetful) after(out maintenance.Swept) {
	if out.Appeared {
		w.stale = nil
	}
}

// checkForgotten checks every moment. With whole, also blocks that nobody names have no dropped bodies.
func (w *forgetful) checkForgotten(whole bool) {
	w.t.Helper()
	w.checkMoments()
	base := w.base()
	for n := uint64(1); n < base; n++ {
		m, err := w.found.Load(w.t.Context(), history.Moment{Number: n, Now: w.now})
		if single := err == nil && !w.times[n].Before(w.until); !single && !errors.Is(err, history.ErrNotKept) {
			w.t.Errorf("commit %d of %s, before %s: %v", n, w.times[n], w.until, err)
		}
		if err == nil {
			w.must(m.Close())
		}
	}
	allowed := w.allowed(base)
	for chunk, key := range w.places(whole) {
		if !allowed[chunk] {
			w.t.Errorf("%s names chunk %s, which only the history before %s needs", key, chunk, w.until)
		}
	}
	if whole {
		w.checkRecords(allowed)
	}
}

// checkMoments checks the moments that an erasure leaves, at any time.
func (w *forgetful) checkMoments() {
	w.t.Helper()
	objects := history.NewObjects(w.memory, 0)
	for n := w.base(); n <= w.tip.Number; n++ {
		if w.times[n].Before(w.until) {
			continue
		}
		m, err := w.found.Load(w.t.Context(), history.Moment{Number: n, Now: w.now})
		if err != nil {
			w.t.Fatalf("commit %d: %v", n, err)
		}
		if want := w.lives[n]; want != "" && w.live(m) != want {
			w.t.Errorf("the live content at commit %d has changed:\n%s\ninstead of\n%s", n, w.live(m), want)
		}
		w.checkBodies(m, objects)
		w.must(m.Close())
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
	w.checkVerify()
}

// base is the checkpoint before the log; 1 = the log is complete.
func (w *forgetful) base() uint64 {
	first, err := w.log().First(w.t.Context())
	w.must(err)
	return max(first, 2) - 1
}

// allowed returns the chunks of messages that the moments from the base on need.
func (w *forgetful) allowed(base uint64) map[history.ChunkID]bool {
	guids := map[cyrus.GUID]bool{}
	for n, used := range w.used {
		if n < base && w.times[n].Before(w.until) {
			continue
		}
		for g, at := range used {
			if at >= w.until.Unix() {
				guids[g] = true
			}
		}
	}
	out := map[history.ChunkID]bool{}
	for g := range guids {
		out[w.chunks[g]] = true
	}
	return out
}

// checkRecords checks that no object has the records or messages that only the history before the limit needs, apart
// from tombstones that were sent again.
func (w *forgetful) checkRecords(allowed map[history.ChunkID]bool) {
	w.t.Helper()
	for key := range w.objects(history.RecordsPrefix(anne)) {
		text := decompressed(w.t, w.memory.Bytes(key))
		for g, chunk := range w.chunks {
			if !allowed[chunk] && !w.kept[g] && strings.Contains(text, g.String()) {
				w.t.Errorf("%s has message %s, which only the history before %s needs", key, g, w.until)
			}
		}
	}
}

// decompressed decompresses an object as far as possible.
func decompressed(t *testing.T, b []byte) string {
	t.Helper()
	d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out, _ := io.ReadAll(d)
	return string(out)
}

// places returns the chunks that objects name.
func (w *forgetful) places(whole bool) map[history.ChunkID]string {
	out := map[history.ChunkID]string{}
	for key := range w.objects(history.LogPrefix(anne)) {
		for p, err := range history.LogPlaces(w.t.Context(), w.memory, key) {
			w.must(err)
			out[p.Chunk] = key
		}
	}
	for _, n := range w.checkpoints() {
		m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, n)
		w.must(err)
		for p, err := range m.AllPlaces() {
			w.must(err)
			out[p.Chunk] = fmt.Sprintf("checkpoint %d", n)
		}
		w.must(m.Close())
	}
	for key := range w.objects(history.RecordsPrefix(anne)) {
		for p, err := range history.ObjectPlaces(w.t.Context(), w.memory, key) {
			w.must(err)
			if whole {
				out[p.Chunk] = key
			}
		}
	}
	return out
}

// Random histories, forgotten up to random days: every later moment stays, and nothing names what only
// earlier ones need.
func TestForget(t *testing.T) {
	seeds, days := uint64(24), 12
	if short() {
		days = 7
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newForgetful(t)
			w.random = rand.New(rand.NewPCG(seed, 7))
			w.create("inbox")
			w.note()
			w.liveFor(days)
			if seed%3 == 0 {
				w.large = true
				w.commitWith(3, "inbox", true)
				w.large = false
				w.note()
			}
			w.liveFor(days)
			if seed%4 == 1 { // with a checkpoint before the log, and single moments
				w.policy.Daily, w.policy.Weekly = 3, 2
				w.merge()
				_, err := w.retain()
				w.must(err)
				w.catchUp()
				w.note()
				w.liveFor(3)
			}
			w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-time.Duration(w.random.IntN(days)) * 24 * time.Hour)
			if seed%5 == 4 { // everything is before it
				w.days(9)
				w.until = maintenance.LastDay(w.now, 48*time.Hour)
			}
			w.mustForget()
			w.checkForgotten(false)
			before := w.memory.Snapshot()
			w.mustForget()
			if changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") }); len(changed) > 0 {
				t.Errorf("a second run has changed %q", changed)
			}
			w.hours(14)
			if s := w.sweep(); !s.Complete() {
				t.Errorf("%+v", s)
			}
			w.checkForgotten(true)
			w.liveFor(12)
			w.until = w.until.Add(5 * 24 * time.Hour)
			w.mustForget()
			w.checkForgotten(false)
		})
	}
}

// short history for tests that run it often.
func shortHistory(t *testing.T) *forgetful {
	w := newForgetful(t)
	w.random = rand.New(rand.NewPCG(3, 11))
	w.plain = true
	w.create("inbox")
	w.note()
	w.deliver("inbox", 3)
	w.note()
	w.days(1)
	w.expunge("inbox", 2)
	w.note()
	w.checkpoint()
	w.liveFor(7)
	w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-24 * time.Hour)
	return w
}

// again restores the world that it is called in, as often as the result is called.
func (w *forgetful) again() (restore func()) {
	start, at, tip, random := w.memory.Snapshot(), w.now, w.tip, *w.random
	uids, boxes := maps.Clone(w.uids), maps.Clone(w.past.boxes)
	return func() {
		w.memory.Rollback(start, "", false)
		w.now, w.tip, *w.random = at, tip, random
		w.uids, w.past.boxes = maps.Clone(uids), maps.Clone(boxes)
		for n := range w.lives {
			if n > tip.Number {
				delete(w.lives, n)
				delete(w.used, n)
			}
		}
		w.store = w.memory
		w.renew()
	}
}

// Each request fails in turn, or loses its answer. Every later moment stays, verify finds no damage, and
// the next run completes the work.
func TestForgetWithFaults(t *testing.T) {
	w := shortHistory(t)
	restore := w.again()
	for _, lost := range []bool{false, true} {
		step := 7
		if short() {
			step = 41
		}
		for n := 0; ; n += step {
			restore()
			s := faultstore.New(w.memory)
			f := faultstore.Fault{Skip: n, Count: 1}
			if lost {
				f.After = faultstore.Lost
			} else {
				f.Before = faultstore.Lost
			}
			s.Add(f)
			w.store = s
			_, err := w.forget()
			w.store = w.memory
			w.renew()
			if err == nil && s.Struck() == 0 {
				if n < 60 {
					t.Errorf("a run has only %d requests", n)
				}
				break
			}
			w.checkMoments()
			w.hours(1) // its lease has ended
			w.mustForget()
			w.checkForgotten(false)
			w.hours(14)
			if s := w.sweep(); !s.Complete() {
				t.Errorf("request %d: %+v", n, s)
			}
			w.checkForgotten(true)
			if t.Failed() {
				t.Fatalf("request %d, lost %t: %v", n, lost, err)
			}
		}
	}
}

// A daemon commits between any two changes. Its commit names a message again that was deleted, as long
// as its state has the message: until the commit of the erasure.
func TestForgetBesideWriter(t *testing.T) {
	w := shortHistory(t)
	restore := w.again()
	before, after, step := 0, 0, 1
	if short() {
		step = 5
	}
	w.still = true
	for n := 0; ; n += step {
		restore()
		g, r := w.deletedMessage()
		switch struck, pruned := w.forgetBesideWriter(n, g, r); {
		case !struck && (before == 0 || after == 0):
			t.Fatalf("the message was named again %d times, and was gone %d times", before, after)
		case !struck:
			return
		case pruned:
			after++
		case after > 0:
			t.Fatalf("change %d: the message is back", n)
		default:
			before++
		}
		w.checkForgotten(false)
	}
}

// forgetBesideWriter erases, and names a message again before change n. pruned means that the commit of the
// erasure exists by then: the state lacks the message from there on.
func (w *forgetful) forgetBesideWriter(n int, g cyrus.GUID, r *cyrus.Record) (struck, pruned bool) {
	w.t.Helper()
	start := w.tip.Number
	s := faultstore.New(w.memory)
	changes := func(op, _ string) bool { return op == "put" || op == "delete" } // by the goroutine of the test
	s.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
		struck = true
		w.catchUp() // a daemon has read the commits before its own
		pruned = w.tip.Number > start
		m, err := w.fold.Message(g)
		w.must(err)
		if has := m != nil; has == pruned {
			w.t.Errorf("change %d: the state has the message: %t, with the commit of the erasure: %t", n, has, pruned)
		}
		if m == nil {
			return
		}
		w.uids["inbox"]++
		again := *r
		again.UID, again.Flags = w.uids["inbox"], []string{}
		w.commit(&history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{&again}})
		w.note()
	}})
	w.store = s
	_, err := w.forget()
	w.store = w.memory
	if err != nil {
		w.t.Fatalf("change %d: %v", n, err)
	}
	w.renew()
	return struck, pruned
}

// deletedMessage returns a message that only tombstones name, and one of them.
func (w *forgetful) deletedMessage() (g cyrus.GUID, found *cyrus.Record) {
	w.t.Helper()
	for box, err := range w.fold.Mailboxes() {
		w.must(err)
		for r, err := range w.fold.Records(box.UniqueID, 0) {
			w.must(err)
			if at := w.used[w.tip.Number][r.GUID]; at < w.until.Unix() && !w.kept[r.GUID] {
				return r.GUID, &r.Record
			}
		}
	}
	w.t.Fatal("no message was deleted")
	return g, nil
}

// A daemon that was slow puts a checkpoint after the erasure. Sweep removes it, and waits again.
func TestSweepLateCheckpoint(t *testing.T) {
	w := shortHistory(t)
	at := w.tip.Number
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	w.mustForget()
	w.hours(11)
	_, err = m.WriteCheckpoint(t.Context(), pack.Options{})
	w.must(err)
	if n := w.checkpoints(); !slices.Contains(n, at) {
		t.Fatalf("checkpoints %v, want %d", n, at)
	}
	w.hours(3)
	if s := w.sweep(); !s.Appeared || s.Complete() {
		t.Errorf("%+v", s)
	}
	w.checkForgotten(false)
	if s := w.sweep(); s.Complete() {
		t.Errorf("at once: %+v", s)
	}
	w.hours(14)
	if s := w.sweep(); !s.Complete() {
		t.Errorf("half a day later: %+v", s)
	}
	w.checkForgotten(true)
}

// Blocks that a daemon has just put for a checkpoint stay.
func TestSweepLeavesYoungBlocks(t *testing.T) {
	w := shortHistory(t)
	w.mustForget()
	w.hours(14)
	m, err := w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	_, err = m.AddCheckpoint(t.Context(), pack.Options{}, func() error { return errors.New("killed") })
	if err == nil {
		t.Fatal("no error")
	}
	w.deliver("inbox", 1)
	w.note()
	w.must(w.fold.Close())
	w.fold, err = w.found.Load(t.Context(), history.Moment{})
	w.must(err)
	before := w.objects(history.RecordsPrefix(anne))
	_, err = w.fold.AddCheckpoint(t.Context(), pack.Options{}, func() error { return errors.New("killed") })
	if err == nil {
		t.Fatal("no error")
	}
	fresh := 0
	out := w.sweep()
	for key := range w.objects(history.RecordsPrefix(anne)) {
		if _, old := before[key]; !old {
			fresh++
		}
	}
	if fresh == 0 || out.Complete() {
		t.Errorf("%d new objects are left; %+v", fresh, out)
	}
	w.checkForgotten(false)
}

// A time that is too recent is refused before anything changes.
func TestForgetTooYoung(t *testing.T) {
	w := shortHistory(t)
	for _, until := range []time.Time{w.until.Add(time.Hour), maintenance.LastDay(w.now, 48*time.Hour).Add(24 * time.Hour)} {
		w.until = until
		before := w.memory.Snapshot()
		if _, err := w.forget(); !errors.Is(err, maintenance.ErrTooYoung) {
			t.Errorf("%v", err)
		}
		if changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") }); len(changed) > 0 {
			t.Errorf("changed %q", changed)
		}
	}
}
