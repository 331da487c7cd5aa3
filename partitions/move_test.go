package partitions_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"backupd/objstore"
	"backupd/objstore/memstore"
	"backupd/objstore/pack"
	"backupd/partitions"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// two are two partitions, with hosts that share them.
type two struct {
	t      *testing.T
	stores []*memstore.Store
	who    string
	boxes  []*source
}

// inTwo backs a user up with every kind of object: inline bodies, packs that another
// user has mail in, pieces, checkpoints.
func inTwo(t *testing.T) (*two, *host) {
	stores := []*memstore.Store{newStore(), newStore()}
	a := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, stores[0], stores[1])
	return backedUp(a, stores, "anne", noise(7, 1200<<10)), a
}

// backedUp is a user with mail in packs and in the log, a checkpoint, and a large message
// if that is given.
func backedUp(a *host, stores []*memstore.Store, who string, large ...[]byte) *two {
	w := &two{t: a.t, stores: stores, who: who}
	inbox, sent, other := newSource("user."+who), newSource("user."+who+".Sent"), newSource("user.with"+who)
	for n := range 12 {
		inbox.deliver(mail(n, 3000))
	}
	for _, b := range large {
		inbox.deliver(b)
	}
	for n := range 6 {
		other.deliver(mail(n, 3000)) // the same mail
		other.deliver(mail(1000+n, 3000))
	}
	w.boxes = []*source{inbox, sent}
	a.sync("with"+who, other)
	a.sync(who, inbox)
	w.checkpoint()
	w.news(a)
	return w
}

func (w *two) path() string { return "user/" + w.who }

func (w *two) parts() (out []partitions.Config) {
	for i, s := range w.stores {
		out = append(out, partitions.Config{Name: fmt.Sprintf("p%d", i), Location: "memory", Store: s})
	}
	return out
}

// home is the partition that the user's backup lives in.
func (w *two) home() *partitions.Found {
	w.t.Helper()
	f, err := partitions.Find(w.t.Context(), w.parts(), partitions.UserName(w.who))
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *two) other() string {
	if w.home().Partition.Name == "p0" {
		return "p1"
	}
	return "p0"
}

func (w *two) checkpoint() {
	w.t.Helper()
	m := load(w.t, w.home().Partition.Store, w.path())
	defer m.Close()
	if _, err := m.WriteCheckpoint(w.t.Context(), pack.Options{}); err != nil {
		w.t.Fatal(err)
	}
}

// news happens at the source: a message that is inline, one that is packed, flags.
func (w *two) news(h *host) {
	w.t.Helper()
	w.happens()
	h.sync(w.who, w.boxes...)
}

func (w *two) happens() {
	n := int(w.boxes[1].modseq)
	w.boxes[1].deliver(mail(2000+n, 700))
	w.boxes[1].deliver(mail(3000+n, 12_000))
	w.boxes[0].flag(w.boxes[0].records[0], fmt.Sprintf("n%d", n))
}

// newsOrLater is news of a client that comes again as long as it is deferred.
func (w *two) newsOrLater(h *host) {
	w.t.Helper()
	w.happens()
	for range 100 {
		c := h.client()
		_, err := c.sync(w.who, w.boxes...)
		c.s.Close()
		if err == nil {
			return
		}
		if !errors.Is(err, cyrus.ErrLocked) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("it is deferred for ever")
}

// move moves with a host of its own, as the tool does.
func (w *two) move(to string) error {
	h := newMover(w.t, w.stores)
	defer h.stop()
	return w.moveWith(h, to)
}

func newMover(t *testing.T, stores []*memstore.Store) *host {
	return newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints, o.PackSize = true, 16<<10 }, stores[0], stores[1])
}

func (w *two) moveWith(h *host, to string) error {
	_, err := h.set.Move(w.t.Context(), partitions.UserName(w.who), to,
		partitions.LockOptions{Owner: "test", Host: "mover", Wait: true, Lease: time.Second}, nil)
	return err
}

func (w *two) mustMove(to string) {
	w.t.Helper()
	if err := w.move(to); err != nil {
		w.t.Fatal(err)
	}
}

// check sees that the backup lives in a partition, whole, and as of an earlier moment.
func (w *two) check(in string) {
	w.t.Helper()
	f := w.sound(in)
	checkBucket(w.t, f.Partition.Store, w.path(), w.boxes...).Close()
	first, err := f.Load(w.t.Context(), history.Moment{Number: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	defer first.Close()
	objects := history.NewObjects(f.Partition.Store, 0)
	for _, r := range w.boxes[0].records {
		checkBody(w.t, first, objects, r.GUID, w.boxes[0].bodies[r.GUID])
	}
}

// sound sees that the backup lives in a partition, and that all that it names is there.
func (w *two) sound(in string) *partitions.Found {
	w.t.Helper()
	f := w.home()
	if f.Partition.Name != in {
		w.t.Fatalf("it lives in %s, want %s", f.Partition.Name, in)
	}
	v, err := f.Verify(w.t.Context(), partitions.Verification{Report: func(p partitions.Problem) { w.t.Errorf("verify: %s", p) }})
	if err != nil || v.Damaged > 0 {
		w.t.Errorf("verify: %+v, %v", v, err)
	}
	return f
}

func TestMove(t *testing.T) {
	w, a := inTwo(t)
	b := newHost(t, w.stores[0], w.stores[1])
	b.expectSame("anne", w.boxes...) // it knows where the backup is
	from, to := w.home().Partition.Name, w.other()
	for i := range 4 { // there and back
		w.mustMove(to)
		w.check(to)
		a.expectSame("anne", w.boxes...)
		w.news(a)
		b.expectSame("anne", w.boxes...)
		w.news(b)
		fresh := newHost(t, w.stores[0], w.stores[1])
		fresh.expectSame("anne", w.boxes...)
		fresh.stop()
		w.check(to)
		if i == 1 {
			w.checkpoint()
		}
		from, to = to, from
	}
	if err := w.move(from); !errors.Is(err, partitions.ErrThere) {
		t.Errorf("to where it is: %v, want ErrThere", err)
	}
}

// What others have in the packs of the old partition is not copied.
func TestMoveTakesNothingOfOthers(t *testing.T) {
	w, _ := inTwo(t)
	to := w.other()
	w.mustMove(to)
	store := w.home().Partition.Store
	own := map[string]bool{}
	for _, b := range w.boxes {
		for _, r := range b.records {
			own[r.GUID.String()+".eml"] = true
		}
	}
	objects, packs := history.NewObjects(store, 0), 0
	for i, err := range store.List(t.Context(), "packs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		dir, err := objects.Directory(t.Context(), i.Key)
		if err != nil {
			t.Fatal(err)
		}
		packs++
		for _, e := range dir.Entries {
			if strings.HasSuffix(e.Name, ".eml") && !own[e.Name] {
				t.Errorf("%s holds %s, of another user", i.Key, e.Name)
			}
		}
	}
	if packs == 0 {
		t.Error("nothing was copied")
	}
}

// Each storage call of a move fails once; the answer of each put is lost once; and each put
// on the way back fails. A daemon may meet the backup half moved: it defers the client. Done
// again, the move is whole.
func TestMoveCutOff(t *testing.T) {
	for name, c := range map[string]cutMoves{
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
			n := 1
			for ; c.at(n); n++ {
				if t.Failed() {
					t.Fatalf("call %d", n)
				}
			}
			if n < 10 {
				t.Errorf("a move has %d calls only", n-1)
			}
		})
	}
}

// ofPuts breaks puts alone: what is only read can be read again.
func ofPuts(f memstore.Fault) memstore.Fault {
	return func(op, key string) error {
		if op != "put" {
			return nil
		}
		return f(op, key)
	}
}

// cutMoves are moves that are cut off, each of another user.
type cutMoves struct {
	t           *testing.T
	after, back bool
	stores      []*memstore.Store
	a, mover    *host
	late        *host // meets each backup half moved for the first time
}

func (c *cutMoves) at(n int) (reached bool) {
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
		if err := w.moveWith(c.mover, to); err != nil && !errors.Is(err, partitions.ErrThere) {
			t.Fatalf("done again: %v", err)
		}
	}
	c.a.expectSame(w.who, w.boxes...)
	w.news(c.a)
	w.sound(to)
	return reached
}

// A mover that is killed after its seal leaves a lock behind, in the old partition. Once
// the move was done again nobody waits for the end of that.
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
	move := func() error {
		_, err := mover.set.Move(t.Context(), partitions.UserName("anne"), to, partitions.LockOptions{Owner: "test", Host: "mover"}, nil)
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

// between is a sync after a move was cut off: done, or deferred.
func (w *two) between(h *host) {
	w.t.Helper()
	c := h.client()
	defer c.s.Close()
	if _, err := c.sync(w.who, w.boxes...); err != nil && !errors.Is(err, cyrus.ErrLocked) {
		w.t.Errorf("a sync after the move was cut off: %v, want ErrLocked", err)
	}
}

// A move waits for nobody, and loses nothing: a daemon writes while it begins.
func TestMoveWhileMailArrives(t *testing.T) {
	w, a := inTwo(t)
	to := w.other()
	moved := make(chan error, 1)
	go func() { moved <- w.move(to) }()
	for range 20 {
		w.newsOrLater(a) // waits for the lock, and goes on in the other partition
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	w.news(a)
	w.check(to)
}

func TestMoveOfWhatIsDamaged(t *testing.T) {
	w, a := inTwo(t)
	from := w.home()
	for i, err := range from.Partition.Store.List(t.Context(), "packs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := from.Partition.Store.Delete(t.Context(), i.Key); err != nil {
			t.Fatal(err)
		}
		break
	}
	err := w.move(w.other())
	if err == nil || !strings.Contains(err.Error(), "verify") {
		t.Errorf("a pack is lost: %v", err)
	}
	if at := w.home(); at.Partition.Name != from.Partition.Name {
		t.Errorf("it lives in %s now", at.Partition.Name)
	}
	a.expectSame("anne", w.boxes...) // the lock was given back
}

// An export can be read, added to, and imported by another host, which then goes on.
func TestExportAndImport(t *testing.T) {
	w, a := inTwo(t)
	w.mustMove(w.other()) // so that its log has a seal
	out := newStore()
	export := func() partitions.Copied {
		t.Helper()
		h := newHost(t, out)
		defer h.stop()
		c, err := h.set.CopyTo(t.Context(), w.home(), "p0", nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	export()
	checkBucket(t, out, w.path(), w.boxes...).Close()
	w.news(a)
	if c := export(); c.Objects == 0 || c.Objects > 3 {
		t.Errorf("an export of little news copied %+v", c)
	}
	if c := export(); c.Objects != 0 || c.Chunks != 0 {
		t.Errorf("an export of no news copied %+v", c)
	}
	checkBucket(t, out, w.path(), w.boxes...).Close()

	target := newStore()
	h := newHost(t, target)
	_, err := h.set.Import(t.Context(), found(t, out), partitions.LockOptions{Owner: "test", Host: "host"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.expectSame("anne", w.boxes...)
	w.news(h)
	checkBucket(t, target, w.path(), w.boxes...).Close()
	if _, err := h.set.Import(t.Context(), found(t, out), partitions.LockOptions{Owner: "test"}, nil); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("a second import: %v, want ErrExist", err)
	}
}

func TestImportCutOff(t *testing.T) {
	w, _ := inTwo(t)
	w.mustMove(w.other())
	for n := 1; ; n++ {
		target := newStore()
		h := newHostWith(t, shortWait, target)
		f, done := fault(n, 1, errDenied)
		target.SetFaults(nil, ofPuts(f))
		imp := func() error {
			_, err := h.set.Import(t.Context(), w.home(), partitions.LockOptions{Owner: "test", Host: "host"}, nil)
			return err
		}
		err := imp()
		reached := done()
		target.SetFaults(nil, nil)
		if err != nil {
			if err = imp(); errors.Is(err, objstore.ErrExist) {
				err = nil
			}
		}
		if err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		h.expectSame("anne", w.boxes...)
		h.stop()
		if !reached {
			return
		}
	}
}

// Two backups of one name that no move has made are nobody's to choose from.
func TestMoveOfABackupInTwoPartitions(t *testing.T) {
	s0, s1 := newStore(), newStore()
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	for _, s := range []objstore.Store{s0, s1} {
		h := newHost(t, s)
		h.sync("anne", inbox)
		h.stop()
	}
	w := &two{t: t, stores: []*memstore.Store{s0, s1}, who: "anne"}
	_, err := partitions.Find(t.Context(), w.parts(), partitions.UserName("anne"))
	if err == nil || !strings.Contains(err.Error(), "two partitions") {
		t.Errorf("%v, want an error that names both", err)
	}
	if err := w.move("p1"); err == nil {
		t.Error("it was moved")
	}
}

// A daemon writes a checkpoint while its backup is exported: the copy has it whole, or not
// at all.
func TestExportWhileACheckpointIsWritten(t *testing.T) {
	w, _ := inTwo(t)
	from := w.home().Partition.Store.(*memstore.Store)
	for _, again := range []bool{false, true} { // a new one, and one that is put anew with other blocks
		out, lists, put := newStore(), 0, false
		from.SetFaults(func(op, key string) error {
			if op != "list" || key != history.LogPrefix(w.path()) || put {
				return nil
			}
			if lists++; lists == 2 { // the blocks have been copied
				put = true
				at := history.Moment{FromLog: again}
				m, err := history.Load(t.Context(), from, w.path(), at)
				if err != nil {
					return err
				}
				defer m.Close()
				_, err = m.WriteCheckpoint(t.Context(), pack.Options{})
				return err
			}
			return nil
		}, nil)
		h := newHost(t, out)
		if _, err := h.set.CopyTo(t.Context(), w.home(), "p0", nil); err != nil || !put {
			t.Fatalf("%v, a checkpoint was put: %v", err, put)
		}
		from.SetFaults(nil, nil)
		h.stop()
		checkBucket(t, out, w.path(), w.boxes...).Close()
		if problems, _ := verify(t, out, false); len(problems) > 0 {
			t.Errorf("put anew %v: %q", again, problems)
		}
	}
}

// What a note leads to is copied once more if it is about to be deleted.
func TestMoveToWhereACopyIsCondemned(t *testing.T) {
	stores := []*memstore.Store{newStore(), newStore()}
	a := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints, o.InlineLimit = true, 1<<10 }, stores[0], stores[1])
	var w, with *two // of whom mail lies in the same packs
	for n := 0; w == nil || w.home().Partition.Name != with.home().Partition.Name; n++ {
		w = backedUp(a, stores, fmt.Sprint("anne", n))
		with = &two{t: t, stores: stores, who: "with" + w.who}
	}
	to := w.other()
	w.mustMove(to)
	store := w.home().Partition.Store
	list := &history.Condemned{Version: history.Version}
	dead := packsOf(t, store)
	for _, key := range dead {
		list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: time.Now()})
	}
	b, err := list.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, store, history.CondemnedKey, b)
	with.mustMove(to)
	for _, key := range dead {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	with.sound(to)
}

// A chunk that one place has lost and another has is no reason not to move.
func TestMoveOfWhatLiesElsewhereByNow(t *testing.T) {
	w, _ := inTwo(t)
	f := w.home()
	m := load(t, f.Partition.Store, w.path())
	defer m.Close()
	packed := w.boxes[0].records[0]
	msg, err := m.Message(packed.GUID)
	if err != nil || msg == nil {
		t.Fatal(msg, err)
	}
	h := history.Header{Version: history.Version, Backup: w.path(), Number: m.Tip().Number + 1, Prev: m.Tip().Hash, Time: m.Tip().Time,
		Host: "host", Clock: time.Now().UTC(), Random: history.NewRandom()}
	for _, lost := range []string{strings.Repeat("0", 64), strings.Repeat("f", 64)} { // before and behind the pack that has it
		bld := history.NewBuilder(h, pack.Options{})
		if err := bld.Event(&history.MessagesEvent{Messages: []history.Message{msg.Message}}); err != nil {
			t.Fatal(err)
		}
		bld.Place(history.Place{Chunk: msg.Chunks[0], Object: "packs/" + lost[:2] + "/" + lost + ".tar.zst", Entry: packed.GUID.String() + ".eml"})
		obj, hash, _, err := bld.Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, f.Partition.Store, history.LogKey(w.path(), h.Number), obj)
		h.Number, h.Prev, h.Random = h.Number+1, hex.EncodeToString(hash[:]), history.NewRandom()
	}
	to := w.other()
	w.mustMove(to)
	w.sound(to)
}

// A note that leads nowhere is what verify tells of, not only what is nowhere.
func TestVerifyOfANoteThatIsWrong(t *testing.T) {
	w, _ := inTwo(t)
	w.mustMove(w.other())
	f := w.home()
	note := objects(t, f.Partition.Store, "moved/")[0]
	old := "packs/" + strings.TrimSuffix(strings.TrimPrefix(note, "moved/"), ".json") + ".tar.zst"
	m, _, err := history.ReadMoved(t.Context(), f.Partition.Store, old)
	if err != nil {
		t.Fatal(err)
	}
	for e := range m.Entries {
		m.Entries[e] = old
	}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, f.Partition.Store, note, b)
	var text []string
	if _, err := f.Verify(t.Context(), partitions.Verification{Report: func(p partitions.Problem) { text = append(text, p.String()) }}); err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 || !strings.Contains(text[0], old+" is absent, and what notes where entry") {
		t.Errorf("%q", text)
	}
}
