package maintenance_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

const anne = "user/anne"

// past is a backup whose writer remembers every state.
type past struct {
	*partition
	store  objstore.Store // used by Retain
	random *rand.Rand
	policy maintenance.Policy

	found *repository.Found
	fold  *history.Mem
	tip   history.Tip
	dumps map[uint64]string
	times map[uint64]time.Time

	boxes map[string][]uint32 // live mailboxes: their live uids
	uids  map[string]uint32
	body  int

	chunks map[cyrus.GUID]history.ChunkID // of every message

	checked int  // number of checks
	wide    bool // the next commit names its records in blocks
	large   bool // the next commit has 3 MiB
	still   bool // commits take no time: other goroutines are reading the clock
}

func newPast(t *testing.T) *past {
	w := &past{partition: newPartition(t, time.Date(2026, 2, 1, 8, 0, 0, 0, time.UTC)), random: rand.New(rand.NewPCG(3, 4)),
		chunks: map[cyrus.GUID]history.ChunkID{}, dumps: map[uint64]string{}, times: map[uint64]time.Time{}, boxes: map[string][]uint32{}, uids: map[string]uint32{},
		policy: maintenance.Policy{Keep: 10 * 24 * time.Hour, LogMinAge: 48 * time.Hour, DeletedFolders: 30 * 24 * time.Hour, DeletedPrefix: "DELETED"}}
	w.store = w.memory
	w.found = w.user("anne")
	var err error
	if w.fold, err = history.NewMem(t.Context(), w.memory, anne); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.fold.Close() })
	return w
}

func (w *past) log() *history.Log { return w.found.Log() }

func (w *past) hours(n int) { w.now = w.now.Add(time.Duration(n) * time.Hour) }
func (w *past) days(n int)  { w.hours(24 * n) }

// bodies puts a pack of new messages, or none if they are inline.
func (w *past) bodies(b *history.Builder, n int, inline bool) []history.Message {
	w.t.Helper()
	p := pack.NewWriter(nil, pack.Options{})
	var out []history.Message
	var places []history.Place
	for range n {
		w.body++
		body := fmt.Appendf(nil, "Subject: message %d\r\n\r\n%s", w.body, strings.Repeat("text\r\n", w.body%7))
		for w.large && len(body) < 1<<20 {
			body = binary.LittleEndian.AppendUint64(body, w.random.Uint64())
		}
		m := history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}
		out, w.chunks[m.GUID] = append(out, m), m.Chunks[0]
		entry := m.GUID.String() + ".eml"
		w.must(p.Add(entry, body))
		if inline {
			b.Inline(entry, body)
		}
		places = append(places, history.Place{Chunk: m.Chunks[0], Object: ".", Entry: entry})
	}
	key := "."
	if !inline {
		object, err := p.Finish()
		w.must(err)
		key = history.PackKey(sha256.Sum256(object))
		w.put(key, object)
	}
	for _, at := range places {
		at.Object = key
		b.Place(at)
	}
	return out
}

// commit puts the next commit.
func (w *past) commit(events ...history.Event) { w.commitWith(0, "", false, events...) }

// commitWith adds new messages to a mailbox.
func (w *past) commitWith(n int, box string, inline bool, events ...history.Event) {
	w.t.Helper()
	if !w.still {
		w.now = w.now.Add(time.Second)
	}
	h := history.Header{Backup: anne, Number: w.tip.Number + 1, Prev: w.tip.Hash, Time: w.now, Host: "h", Clock: w.now, Connection: "c", Client: "mail"}
	b := history.NewBuilder(h, pack.Options{})
	for _, e := range events {
		w.must(b.Event(e))
	}
	if n > 0 {
		messages := w.bodies(b, n, inline)
		w.must(b.Event(&history.MessagesEvent{Messages: messages}))
		blocks := history.NewRecordBlockWriter(w.memory, anne, pack.Options{})
		for _, m := range messages {
			w.uids[box]++
			r := &cyrus.Record{UID: w.uids[box], ModSeq: h.Number + 5, Size: uint32(m.Size), GUID: m.GUID, Flags: []string{}}
			if w.wide {
				w.must(blocks.Add(w.t.Context(), r))
			} else {
				w.must(b.Record(box, r))
			}
			w.boxes[box] = append(w.boxes[box], r.UID)
		}
		if w.wide {
			refs, err := blocks.Finish(w.t.Context())
			w.must(err)
			w.must(b.Event(&history.RecordBlocksEvent{UniqueID: box, Blocks: refs}))
		}
		w.wide = false
	}
	won, err := w.found.PutBuilt(w.t.Context(), b)
	w.must(err)
	if !won {
		w.t.Fatalf("commit %d exists", h.Number)
	}
	w.catchUp()
}

// catchUp folds the commits that were put, also by retention, and remembers each state.
func (w *past) catchUp() {
	w.t.Helper()
	newest, err := w.log().Newest(w.t.Context(), w.tip.Number)
	w.must(err)
	for c, err := range w.log().CommitsAfter(w.t.Context(), w.tip, newest) {
		w.must(err)
		w.must(w.fold.Apply(c))
		w.tip = w.fold.Tip()
		w.dumps[w.tip.Number], w.times[w.tip.Number] = w.dump(w.fold), c.Header().Time
	}
	w.tip = w.fold.Tip()
}

// dump returns a whole state, without the places.
func (w *past) dump(m *history.Mem) string {
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
		put(box)
		for r, err := range m.Records(box.UniqueID, 0) {
			w.must(err)
			put(r)
		}
	}
	for _, kind := range history.ItemKinds() {
		for i, err := range m.Items(kind) {
			w.must(err)
			put(i)
		}
	}
	for s, err := range m.Messages() {
		w.must(err)
		put(s)
	}
	return b.String()
}

func mailbox(uniqueid, name string) *history.MailboxEvent {
	field := func(key, value string) dlist.Pair {
		return dlist.Pair{Key: key, Value: dlist.Value{Kind: dlist.String, Str: value}}
	}
	return &history.MailboxEvent{UniqueID: uniqueid, Name: name, Fields: []dlist.Pair{field("UNIQUEID", uniqueid), field("MBOXNAME", name)}}
}

// create creates a mailbox.
func (w *past) create(uniqueid string) {
	w.boxes[uniqueid] = nil
	w.commit(mailbox(uniqueid, "user.anne."+uniqueid))
}

func (w *past) deliver(uniqueid string, n int) { w.commitWith(n, uniqueid, false) }

// expunge expunges the first records of a mailbox.
func (w *past) expunge(uniqueid string, n int) {
	n = min(n, len(w.boxes[uniqueid]))
	w.commit(&history.ExpungeEvent{UniqueID: uniqueid, UIDs: w.boxes[uniqueid][:n]})
	w.boxes[uniqueid] = w.boxes[uniqueid][n:]
}

// merge merges the single commits of whole days that are older than 48 h. Inline bodies move into
// a pack.
func (w *past) merge() {
	w.t.Helper()
	var run []uint64
	day := func(n uint64) string { return w.times[n].UTC().Format(time.DateOnly) }
	end := func() {
		if len(run) > 0 {
			w.segment(run[0], run[len(run)-1])
		}
		run = nil
	}
	for info, err := range w.memory.List(w.t.Context(), history.LogPrefix(anne), "") {
		w.must(err)
		from, _, _ := history.ParseLogKey(anne, info.Key)
		if info.Key != history.LogKey(anne, from) || w.now.Sub(info.Modified) < 72*time.Hour || from == w.tip.Number {
			continue
		}
		if len(run) > 0 && (from != run[len(run)-1]+1 || day(from) != day(run[0])) {
			end()
		}
		run = append(run, from)
	}
	end()
}

func (w *past) segment(from, to uint64) {
	w.t.Helper()
	moved := map[string]string{}
	b := history.NewSegmentBuilder(anne, pack.Options{})
	for c, err := range w.log().Commits(w.t.Context(), from, to) {
		w.must(err)
		w.must(b.Add(c, func(p history.Place) (history.Place, error) {
			if p.Object == c.Key() {
				if moved[p.Entry] == "" {
					moved[p.Entry] = w.pack(p)
				}
				p.Object = moved[p.Entry]
			}
			return p, nil
		}))
	}
	key, object, err := b.Finish()
	w.must(err)
	w.put(key, object)
	for n := from; n <= to; n++ {
		w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, n)))
	}
}

// pack puts an inline body into a new pack.
func (w *past) pack(p history.Place) string {
	w.t.Helper()
	o := history.NewObjects(w.memory, 0)
	_, e, err := o.Entry(w.t.Context(), p)
	w.must(err)
	frames, err := o.Frames(w.t.Context(), p.Object, e.Off, e.Len)
	w.must(err)
	r := pack.OpenEntry(e, frames)
	body, err := io.ReadAll(r)
	w.must(errors.Join(err, r.Close(), frames.Close()))
	p2 := pack.NewWriter(nil, pack.Options{})
	w.must(p2.Add(p.Entry, body))
	object, err := p2.Finish()
	w.must(err)
	key := history.PackKey(sha256.Sum256(object))
	w.put(key, object)
	return key
}

// checkpoint does what a daemon does.
func (w *past) checkpoint() {
	w.t.Helper()
	m, err := w.found.Load(w.t.Context(), history.Moment{})
	w.must(err)
	defer m.Close()
	_, err = m.WriteCheckpoint(w.t.Context(), pack.Options{})
	w.must(err)
}

func (w *past) options() maintenance.RetainOptions {
	return maintenance.RetainOptions{Policy: w.policy, Lock: repository.LockOptions{Owner: "test", Host: "h", Now: func() time.Time { return w.now }}}
}

// retain runs Retain.
func (w *past) retain() (maintenance.RetainResult, error) {
	w.t.Helper()
	f := *w.found
	f.Partition.Store = w.store
	u, err := repository.BeginUpkeep(w.t.Context(), &f, w.options().Lock)
	if err != nil {
		return maintenance.RetainResult{}, err
	}
	done, err := maintenance.Retain(u.Context(), &f, u, w.options())
	return done, errors.Join(err, u.End(w.t.Context()))
}

func (w *past) mustRetain() maintenance.RetainResult {
	w.t.Helper()
	named, read := w.named(), w.ofCheckpoints()
	done, err := w.retain()
	w.must(err)
	w.catchUp()
	w.check()
	there := w.objects(history.RecordsPrefix(anne))
	for key := range read {
		if _, ok := there[key]; !ok {
			w.t.Errorf("%s is gone, and somebody may be reading a checkpoint that named it before the run", key)
		}
	}
	if done.Cut.Number > 0 {
		w.checkGone(done, named)
	}
	return done
}

// retainNightly runs Retain, and in every fifth night (tenth, if short) checks what mustRetain does: a
// check restores every moment that is kept.
func (w *past) retainNightly(night int) maintenance.RetainResult {
	w.t.Helper()
	nights := 5
	if short() {
		nights = 10
	}
	if night%nights == nights-1 {
		return w.mustRetain()
	}
	done, err := w.retain()
	w.must(err)
	w.catchUp()
	return done
}

// objects returns the keys below a prefix of the backup, with their age.
func (w *past) objects(prefix string) map[string]time.Duration {
	w.t.Helper()
	out := map[string]time.Duration{}
	for info, err := range w.memory.List(w.t.Context(), prefix, "") {
		w.must(err)
		out[info.Key] = w.now.Sub(info.Modified)
	}
	return out
}

func (w *past) checkpoints() []uint64 {
	w.t.Helper()
	numbers, err := w.log().Checkpoints(w.t.Context())
	w.must(err)
	slices.Reverse(numbers)
	return numbers
}

// ofCheckpoints returns the objects with blocks that checkpoints name.
func (w *past) ofCheckpoints() map[string]bool {
	w.t.Helper()
	out := map[string]bool{}
	for _, n := range w.checkpoints() {
		m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, n)
		w.must(err)
		for object := range m.Blocks() {
			out[object] = true
		}
		w.must(m.Close())
	}
	return out
}

// named returns the objects with blocks that checkpoints and the log name.
func (w *past) named() map[string]bool {
	w.t.Helper()
	out := w.ofCheckpoints()
	first, err := w.log().First(w.t.Context())
	w.must(err)
	for c, err := range w.log().Commits(w.t.Context(), max(first, 1), w.tip.Number) {
		w.must(err)
		for e, err := range c.Events() {
			w.must(err)
			if e, ok := e.(*history.RecordBlocksEvent); ok {
				for _, b := range e.Blocks {
					out[b.Object] = true
				}
			}
		}
	}
	return out
}

// checkGone checks that nothing is left that the rules do not keep. before are the objects that
// were named before the run: somebody may still be reading them.
func (w *past) checkGone(done maintenance.RetainResult, before map[string]bool) {
	w.t.Helper()
	for key := range w.objects(history.LogPrefix(anne)) {
		if _, to, _ := history.ParseLogKey(anne, key); to <= done.Cut.Number {
			w.t.Errorf("%s is left, although it ends before commit %d", key, done.Cut.Number)
		}
	}
	kept := map[uint64]bool{done.Cut.Number: true}
	for _, k := range done.Kept {
		kept[k.Number] = true
	}
	for _, n := range w.checkpoints() {
		if n <= done.Cut.Number && !kept[n] {
			w.t.Errorf("checkpoint %d is left", n)
		}
		delete(kept, n)
	}
	if len(kept) > 0 {
		w.t.Errorf("checkpoints %v are missing", slices.Collect(maps.Keys(kept)))
	}
	now := w.named()
	for key, age := range w.objects(history.RecordsPrefix(anne)) {
		if age > w.policy.LogMinAge && !before[key] && !now[key] {
			w.t.Errorf("%s is left, and nothing names it", key)
		}
	}
}

// check compares every moment that must exist with the remembered one, and expects a clear error
// for every other.
func (w *past) check() {
	w.t.Helper()
	w.check0()
	if w.checked++; w.checked%9 == 1 {
		w.checkVerify()
	}
}

// check0 is check without verify.
func (w *past) check0() {
	w.t.Helper()
	first, err := w.log().First(w.t.Context())
	w.must(err)
	exists := map[uint64]bool{}
	for _, n := range w.checkpoints() {
		exists[n] = true
	}
	from := first // an interrupted run has left commits without the checkpoint before them
	for from > 1 && !exists[from-1] && !exists[from] {
		from++
	}
	bodies := newBodies(w.memory)
	for n := uint64(1); n <= w.tip.Number; n++ {
		kept := n >= from || exists[n]
		if !kept && w.now.Sub(w.times[n]) <= w.policy.Keep {
			w.t.Errorf("commit %d of %s was removed at %s", n, w.times[n], w.now)
		}
		if n > 1 && n+2 < w.tip.Number && !exists[n] && !exists[n-1] && !exists[n+1] && w.random.IntN(40) > 0 {
			continue // a sample is enough
		}
		w.checkMoment(history.Moment{Number: n, Now: w.now}, n, kept, bodies)
		if w.times[n+1].Sub(w.times[n]) >= time.Second {
			w.checkMoment(history.Moment{Time: w.times[n], Now: w.now}, n, kept, bodies)
		}
	}
}

func (w *past) checkMoment(at history.Moment, n uint64, kept bool, bodies *bodies) {
	w.t.Helper()
	m, err := w.found.Load(w.t.Context(), at)
	if !kept {
		if !errors.Is(err, history.ErrNotKept) || history.IsDamage(err) {
			w.t.Fatalf("commit %d, which was removed: %v", n, err)
		}
		return
	}
	if err != nil {
		w.t.Fatalf("commit %d: %v", n, err)
	}
	defer m.Close()
	if m.Tip().Number != n {
		w.t.Fatalf("%v: commit %d instead of %d", at, m.Tip().Number, n)
	}
	if got := w.dump(m); got != w.dumps[n] {
		w.t.Fatalf("the state at commit %d has changed:\n%s\ninstead of\n%s", n, got, w.dumps[n])
	}
	w.checkBodies(m, bodies)
}

// bodies reads messages of many states of a bucket that does not change meanwhile.
type bodies struct {
	*history.Objects
	read map[string]bool // by message and places: most states have the same ones
}

func newBodies(s objstore.Store) *bodies {
	return &bodies{history.NewObjects(s, 0), map[string]bool{}}
}

// checkBodies reads every message of the state that b has not read from the same places.
func (w *past) checkBodies(m *history.Mem, b *bodies) {
	w.t.Helper()
	for s, err := range m.Messages() {
		w.must(err)
		if s.Missing {
			continue
		}
		key := fmt.Sprint(s.GUID, s.Size)
		for _, c := range s.Chunks {
			places, err := m.Places(c)
			w.must(err)
			key += fmt.Sprint(c, places)
		}
		if b.read[key] {
			continue
		}
		b.read[key] = true
		body, err := history.OpenMessage(w.t.Context(), b.Objects, s, m.Places)
		if err != nil {
			w.t.Fatalf("message %s at commit %d: %v", s.GUID, m.Tip().Number, err)
		}
		_, err = io.Copy(io.Discard, body)
		if err := errors.Join(err, body.Close()); err != nil {
			w.t.Fatalf("message %s at commit %d: %v", s.GUID, m.Tip().Number, err)
		}
	}
}

func (w *past) checkVerify() {
	w.t.Helper()
	_, err := verify.Run(w.t.Context(), w.found, verify.Options{Report: func(p verify.Problem) { w.t.Errorf("verify: %s", p) }})
	w.must(err)
}
