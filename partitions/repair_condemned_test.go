package partitions_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// condemnedDamage condemns the packs of anne and bob. The damaged list has only anne's; a note shows
// that a request to delete bob's may have been sent.
func condemnedDamage(t *testing.T) (w *damageWorld, packs []string) {
	w = newDamageWorld(t)
	long := w.now().Add(-30 * time.Hour)
	list := &history.Condemned{Version: history.Version}
	for _, user := range []string{"anne", "bob"} {
		packs = append(packs, w.packs[user])
		list.Packs = append(list.Packs, history.CondemnedPack{Key: w.packs[user], Since: long})
	}
	slices.SortFunc(list.Packs, func(a, _ history.CondemnedPack) int {
		if a.Key == w.packs["anne"] {
			return -1
		}
		return 1
	})
	b, err := list.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, w.store, history.CondemnedKey, b[:len(b)-120])
	for _, pack := range []string{w.packs["bob"], history.PackKey([32]byte{1})} { // one is gone
		b, err := (&history.Moved{Version: history.Version, Pack: pack, Time: long, Entries: map[string]string{}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := history.MovedKey(pack)
		replace(t, w.store, key, b)
	}
	slices.Sort(packs)
	return w, packs
}

// A request to delete a condemned pack may arrive after a repair of the list. The pack stays on the
// list, so nothing new refers to it. Packs that were not condemned do not get there.
func TestRepairKeepsCondemned(t *testing.T) {
	w, want := condemnedDamage(t)
	replace(t, w.store, history.PackKey([32]byte{2}), nil)
	w.repair()
	list, _, err := history.ReadCondemned(t.Context(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list.Packs {
		got = append(got, p.Key)
		if w.now().Sub(p.Since).Abs() > time.Hour {
			t.Errorf("%s is condemned since %v: it could be deleted at once", p.Key, p.Since)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("condemned: %q, want %q", got, want)
	}
}

// While another program removes packs, the list cannot be made again: the removal goes on with what
// it has read.
func TestRepairWaitsForCollection(t *testing.T) {
	w, _ := condemnedDamage(t)
	lease, err := repository.BeginCollection(t.Context(), w.Config(), repository.LockOptions{Owner: "test", Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	before := w.store.Bytes(history.CondemnedKey)
	_, err = verify.Repair(t.Context(), w.found("anne"), w.repairing(func(string) {}))
	if !errors.Is(err, repository.ErrUpkeep) || string(w.store.Bytes(history.CondemnedKey)) != string(before) {
		t.Errorf("repair: %v, want ErrUpkeep and an unchanged list", err)
	}
	if err := lease.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The list was lost after a collection had put packs on it: verify reports that, and the repair makes it
// again.
func TestRepairOfLostCondemned(t *testing.T) {
	w, _ := condemnedDamage(t)
	w.store.Lose(history.CondemnedKey)
	if err := repository.CheckCondemned(t.Context(), w.store); err != nil {
		t.Errorf("without a collection: %v", err)
	}
	replace(t, w.store, repository.TotalsKey, []byte(`{"version":1,"time":"2026-01-02T03:04:05Z","condemned":{"packs":2,"bytes":100}}`))
	if err := repository.CheckCondemned(t.Context(), w.store); !history.IsDamage(err) {
		t.Errorf("after a collection: %v", err)
	}
	w.repair()
	list, info, err := history.ReadCondemned(t.Context(), w.store)
	if err != nil || info.ETag == "" || len(list.Packs) != 1 || list.Packs[0].Key != w.packs["bob"] {
		t.Errorf("%+v, %v: want the pack with a note", list, err)
	}
	if err := repository.CheckCondemned(t.Context(), w.store); err != nil {
		t.Errorf("repaired: %v", err)
	}
}
