package history

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// forgetModel makes random logs. A commit repeats a message only if the state does not have it.
type forgetModel struct {
	*writer
	m    *Mem // the newest state
	pool []Message
}

func (f *forgetModel) n(n int) int { return f.random.IntN(n) }

func (f *forgetModel) add(events ...Event) {
	f.t.Helper()
	f.commitWith(func(b *Builder) {
		for _, e := range events {
			if e, ok := e.(*MessagesEvent); ok {
				for _, m := range e.Messages {
					for _, c := range m.Chunks {
						b.Place(Place{Chunk: c, Object: "packs/ab/ab.tar.zst", Entry: m.GUID.String() + ".eml"})
					}
				}
			}
		}
	}, events...)
	for c, err := range f.log().CommitsAfter(f.t.Context(), f.m.Tip(), f.tip.Number) {
		if err == nil {
			err = f.m.Apply(c)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *forgetModel) box() (id string, exists bool) {
	id = string(rune('a' + f.n(3)))
	b, err := f.m.Mailbox(id)
	if err != nil {
		f.t.Fatal(err)
	}
	return id, b != nil
}

// messages returns an event with those messages that the state lacks.
func (f *forgetModel) messages(list ...Message) (out []Event) {
	e := &MessagesEvent{}
	for _, m := range list {
		old, err := f.m.Message(m.GUID)
		if err != nil {
			f.t.Fatal(err)
		}
		if old == nil || old.Missing && f.n(2) == 0 {
			if f.n(8) == 0 {
				m.Missing, m.Chunks = true, nil
			}
			e.Messages = append(e.Messages, m)
		}
	}
	if len(e.Messages) > 0 {
		out = append(out, e)
	}
	return out
}

func (f *forgetModel) recs(n int) (out []*cyrus.Record, used []Message) {
	for uid := uint32(1); uid <= 8; uid++ {
		if f.n(8) >= n {
			continue
		}
		m := f.pool[f.n(len(f.pool))]
		var flags []string
		if f.n(4) == 0 {
			flags = []string{`\Expunged`}
		}
		out, used = append(out, record(uid, m.GUID, flags...)), append(used, m)
	}
	return out, used
}

func (f *forgetModel) step() {
	f.t.Helper()
	id, exists := f.box()
	name := fmt.Sprintf("user.anne.%d", f.n(3))
	if !exists {
		f.add(mailbox(id, name))
		return
	}
	switch f.n(18) {
	case 0:
		f.add(mailbox(id, name))
	case 1, 2, 3, 4, 5:
		recs, used := f.recs(3)
		if len(recs) > 0 {
			f.add(append(f.messages(used...), records(id, recs...))...)
		}
	case 6:
		f.add(&ExpungeEvent{UniqueID: id, UIDs: []uint32{uint32(1 + f.n(8)), uint32(1 + f.n(8))}})
	case 7:
		recs, used := f.recs(4)
		events := f.messages(used...)
		if len(recs) > 0 {
			events = append(events, records(id, recs...))
		}
		f.add(append(events, &CompleteEvent{UniqueID: id})...)
	case 8:
		f.add(&RenameEvent{UniqueID: id, New: name})
	case 9:
		f.add(&UnmailboxEvent{UniqueID: id})
	case 10:
		f.add(&MovedAwayEvent{UniqueID: id, To: "user/bob"})
	case 11:
		f.add(&ResyncEvent{UniqueID: id, Reason: "crc"})
	case 12:
		f.add(&SubEvent{User: "anne", Name: name, Subscribed: f.n(2) == 0})
	case 13:
		v := "v"
		e := &AnnotationEvent{Name: name, Entry: "/comment", Value: &v}
		if f.n(2) == 0 {
			e.Value = nil
		}
		f.add(e)
	case 14:
		if f.n(4) == 0 {
			f.add(&UnuserEvent{User: "anne"})
		}
	case 15:
		f.add(&LostEvent{Messages: []cyrus.GUID{f.pool[f.n(len(f.pool))].GUID}})
	case 16: // records follow later, or never
		if events := f.messages(f.pool[f.n(len(f.pool))]); len(events) > 0 {
			f.add(events...)
		}
	case 17:
		f.add(&PruneEvent{Before: f.m.Tip().Time.Add(-time.Duration(f.n(12)) * time.Minute)})
	}
}

// alive returns what a restore finds.
func alive(t testing.TB, m *Mem) string {
	t.Helper()
	var b strings.Builder
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for box, err := range m.Mailboxes() {
		must(err)
		if !box.Deleted.IsZero() {
			continue
		}
		head := *box
		head.Records, head.TopUID = 0, 0
		b.WriteString(toJSON(t, head) + "\n")
		for r, err := range m.Records(box.UniqueID, 0) {
			must(err)
			if r.Expunged != 0 {
				continue
			}
			s, err := m.Message(r.GUID)
			must(err)
			b.WriteString(toJSON(t, r) + toJSON(t, s) + "\n")
			if s == nil {
				continue
			}
			for _, c := range s.Chunks {
				p, err := m.Places(c)
				must(err)
				fmt.Fprintf(&b, "places %v\n", len(p) > 0)
			}
		}
	}
	for _, kind := range ItemKinds() {
		for i, err := range m.Items(kind) {
			must(err)
			if i.Deleted.IsZero() {
				b.WriteString(toJSON(t, i) + "\n")
			}
		}
	}
	return b.String()
}

// needs adds the messages that a state needs after the history before limit was erased.
func (f *forgetModel) needs(m *Mem, limit time.Time, out map[cyrus.GUID]bool) {
	f.t.Helper()
	for box, err := range m.Mailboxes() {
		if err != nil {
			f.t.Fatal(err)
		}
		if deletedBefore(box.Deleted, limit) {
			continue
		}
		for r, err := range m.Records(box.UniqueID, 0) {
			if err != nil {
				f.t.Fatal(err)
			}
			if !expungedBefore(r, limit) {
				out[r.GUID] = true
			}
		}
	}
}

// names adds the messages that a commit names, apart from those of records that were deleted before the limit. m is
// the state after the commit.
func (f *forgetModel) names(c *CommitReader, m *Mem, limit time.Time, out map[cyrus.GUID]bool) {
	f.t.Helper()
	for e, err := range c.Events() {
		if err != nil {
			f.t.Fatal(err)
		}
		switch e := e.(type) {
		case *RecordsEvent:
			for _, r := range e.Records {
				now, err := m.Record(e.UniqueID, r.UID)
				if err != nil {
					f.t.Fatal(err)
				}
				if now == nil || !expungedBefore(now, limit) {
					out[r.GUID] = true
				}
			}
		case *MessagesEvent:
			for _, m := range e.Messages {
				out[m.GUID] = true
			}
		case *LostEvent:
			for _, g := range e.Messages {
				out[g] = true
			}
		}
	}
}

// Random logs of all kinds of events: after Forget, every later state has the same live content, and the prune
// event leads to the same state. It leaves no message that nothing needs.
func TestForgetModel(t *testing.T) {
	seeds := uint64(60)
	if raceEnabled {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newForgetModel(t, seed)
			base := uint64(5 + f.n(25))
			limit := noon.Add(time.Duration(base+1) * time.Minute)
			if f.n(3) == 0 { // a checkpoint that is younger than the limit
				limit = limit.Add(-time.Duration(f.n(5)) * time.Minute)
			}
			f.add(&PruneEvent{Before: limit})
			t.Logf("base %d, limit %s", base, limit)
			f.checkForget(base, limit)
			f.must(f.m.Close())
		})
	}
}

// newForgetModel makes a random log.
func newForgetModel(t *testing.T, seed uint64) *forgetModel {
	t.Helper()
	f := &forgetModel{writer: newWriter(t)}
	f.random = rand.New(rand.NewPCG(seed, 9))
	for n := range 10 {
		f.pool = append(f.pool, message(text(n, 20)))
	}
	var err error
	f.m, err = NewMem(t.Context(), f.store, anne)
	f.must(err)
	for f.tip.Number < 40 {
		f.step()
	}
	return f
}

// checkForget drops from the state after commit base what was deleted before a time, and folds the rest of the log with
// and without that.
func (f *forgetModel) checkForget(base uint64, limit time.Time) {
	f.t.Helper()
	full, clean, later := f.load(Moment{Number: base, FromLog: true}), f.load(Moment{Number: base, FromLog: true}), NewLater(limit)
	commits := f.log().CommitsAfter(f.t.Context(), full.Tip(), f.tip.Number)
	f.must(later.Fold(f.load(Moment{Number: base, FromLog: true}), commits))
	_, err := clean.Forget(later)
	f.must(err)
	f.must(clean.sweepPlaces()) // as WriteCheckpoint does
	left, needed := map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}
	for s, err := range clean.Messages() {
		f.must(err)
		left[s.GUID] = true
	}
	for n := base; ; n++ {
		f.needs(full, limit, needed)
		if a, b := alive(f.t, full), alive(f.t, clean); a != b {
			f.t.Fatalf("after commit %d:\n%s\ninstead of\n%s", n, b, a)
		}
		if n == f.tip.Number {
			break
		}
		for _, m := range []*Mem{full, clean} {
			for c, err := range f.log().CommitsAfter(f.t.Context(), m.Tip(), n+1) {
				f.must(err)
				f.must(m.Apply(c))
			}
		}
		for c, err := range f.log().Commits(f.t.Context(), n+1, n+1) {
			f.must(err)
			f.names(c, full, limit, needed)
		}
	}
	if diff, err := full.Difference(clean); err != nil || diff != "" {
		f.t.Fatalf("%s, %v", diff, err)
	}
	for g := range left {
		if !needed[g] {
			f.t.Fatalf("message %s is left, and nothing needs it", g)
		}
	}
}
