package partitions_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

func TestMove(t *testing.T) {
	w, a := inTwo(t)
	b := newHost(t, w.stores[0], w.stores[1])
	b.expectSame("anne", w.boxes...) // b knows where the backup is
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
	if err := w.move(from); !errors.Is(err, transfer.ErrThere) {
		t.Errorf("to its own partition: %v, want ErrThere", err)
	}
}

// Mail of other users in the packs of the old partition is not copied.
func TestMoveLeavesMailOfOthers(t *testing.T) {
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
				t.Errorf("%s contains %s, which is another user's", i.Key, e.Name)
			}
		}
	}
	if packs == 0 {
		t.Error("nothing was copied")
	}
}

// A move does not wait for a pause, and loses no mail that a daemon writes when the move starts.
func TestMoveWhileMailArrives(t *testing.T) {
	w, a := inTwo(t)
	to := w.other()
	moved := make(chan error, 1)
	go func() { moved <- w.move(to) }()
	for range 20 {
		w.newsOrLater(a) // waits for the lock, and continues in the other partition
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	w.news(a)
	w.check(to)
}

func TestMoveOfDamagedBackup(t *testing.T) {
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
		t.Errorf("a move with a lost pack: %v, want an error that mentions verify", err)
	}
	if at := w.home(); at.Partition.Name != from.Partition.Name {
		t.Errorf("the backup is in %s now", at.Partition.Name)
	}
	a.expectSame("anne", w.boxes...) // the lock was released
}

// If two partitions contain a backup of the same name, and no move explains it, no tool chooses
// one.
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
	_, err := repository.Find(t.Context(), w.parts(), repository.UserName("anne"))
	if err == nil || !strings.Contains(err.Error(), "two partitions") {
		t.Errorf("%v, want an error that names both", err)
	}
	if err := w.move("p1"); err == nil {
		t.Error("a backup in two partitions was moved")
	}
}

// A pack that a note names is copied again if it is about to be deleted.
func TestMoveToCondemnedCopy(t *testing.T) {
	stores := []*memstore.Store{newStore(), newStore()}
	a := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints, o.InlineLimit = true, 1<<10 }, stores[0], stores[1])
	var w, with *two // two users with mail in the same packs
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

// A chunk that is lost in one place and stored in another does not prevent a move.
func TestMoveWithLostPlace(t *testing.T) {
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
	for _, lost := range []string{strings.Repeat("0", 64), strings.Repeat("f", 64)} { // sorted before and after the pack that contains the chunk
		bld := history.NewBuilder(h, pack.Options{})
		if err := bld.Event(&history.MessagesEvent{Messages: []history.Message{msg.Message}}); err != nil {
			t.Fatal(err)
		}
		bld.Place(history.Place{Chunk: msg.Chunks[0], Object: "packs/" + lost[:2] + "/" + lost + ".tar.zst", Entry: packed.GUID.String() + ".eml"})
		obj, hash, err := bld.Finish(nil)
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

// verify reports a note that names a wrong place, in addition to the missing entry.
func TestVerifyReportsWrongNote(t *testing.T) {
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
	if _, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { text = append(text, p.String()) }}); err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 || !strings.Contains(text[0], old+" is missing, and the recorded new place of entry") {
		t.Errorf("%q", text)
	}
}
