package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

type forgetful struct {
	*past
	shown map[uint64]string               // live content
	used  map[uint64]map[cyrus.GUID]int64 // until when each message was live
	boxes map[string]bool                 // every mailbox that ever was
	kept  map[cyrus.GUID]bool             // messages whose tombstones were sent again
	until time.Time
	since time.Time                // when the erasure began
	stale *maintenance.StaleBlocks // what Sweep has found
	plain bool                     // no odd commits
}

func newForgetful(t *testing.T) *forgetful {
	return &forgetful{past: newPast(t), shown: map[uint64]string{}, used: map[uint64]map[cyrus.GUID]int64{}, boxes: map[string]bool{}, kept: map[cyrus.GUID]bool{}}
}

func (w *forgetful) note() {
	w.t.Helper()
	w.shown[w.tip.Number] = w.live(w.fold)
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

func (w *forgetful) liveFor(days int) {
	for range days {
		for range 1 + w.random.IntN(4) {
			if !w.plain && w.random.IntN(3) == 0 {
				w.odd()
			} else {
				w.act()
			}
			if w.shown[w.tip.Number] == "" {
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
	return maintenance.ForgetOptions{RetainOptions: w.options(), Until: w.until, Since: w.since, Stale: w.stale,
		Found: func(_ context.Context, found *maintenance.StaleBlocks) error { w.stale = found; return nil },
		Merge: maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(w.now, 48*time.Hour)}}
}

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
	if w.since.IsZero() {
		w.since = w.now
	}
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

// mustForgetWholly forgets, and completes that half a day later.
func (w *forgetful) mustForgetWholly() {
	w.t.Helper()
	w.mustForget()
	w.checkForgotten(false)
	w.hours(14)
	if s := w.sweep(); !s.Complete() {
		w.t.Errorf("%+v", s)
	}
	w.checkForgotten(true)
}

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

func (w *forgetful) after(out maintenance.Swept) {
	if out.Appeared {
		w.stale = nil
	}
}

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

func (w *forgetful) checkMoments() {
	w.t.Helper()
	bodies := newBodies(w.memory)
	for n := w.base(); n <= w.tip.Number; n++ {
		if w.times[n].Before(w.until) {
			continue
		}
		m, err := w.found.Load(w.t.Context(), history.Moment{Number: n, Now: w.now})
		if err != nil {
			w.t.Fatalf("commit %d: %v", n, err)
		}
		if want := w.shown[n]; want != "" && w.live(m) != want {
			w.t.Errorf("the live content at commit %d has changed:\n%s\ninstead of\n%s", n, w.live(m), want)
		}
		w.checkBodies(m, bodies)
		w.must(m.Close())
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
	w.checkVerify()
}

func (w *forgetful) base() uint64 {
	first, err := w.log().First(w.t.Context())
	w.must(err)
	return max(first, 2) - 1
}

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
