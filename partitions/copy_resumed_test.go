package partitions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// An export is interrupted before it is complete, and repeated weeks later, when collection has
// removed the packs that only blocks of later checkpoints name there: the objects of the
// backup that exist there say nothing about the packs.
func TestCopyResumedAfterCollection(t *testing.T) {
	a := newAged(t)
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now, o.InlineLimit = a.clock, 1
	}, a.store)
	box := newSource("user.anne")
	a.mail(h, box, 20)
	h.stop()
	a.retain(72 * time.Hour)
	mem := memstore.New(a.clock)
	export := func() {
		t.Helper()
		h := newHostWith(t, func(o *partitions.Options) { o.Now = a.clock }, mem)
		defer h.stop()
		f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: a.store}, "user/anne")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transfer.Copy(t.Context(), f, h.set.Partitions()[0], nil); err != nil {
			t.Fatal(err)
		}
	}
	export()
	for _, key := range mem.Keys("backups/") {
		if !strings.HasPrefix(key, repository.BackupPrefix("user/anne")+"records/") {
			mem.Lose(key)
		}
	}
	a.pass(20 * 24 * time.Hour)
	packs := mem.Keys("packs/")
	for _, key := range packs {
		mem.Lose(key)
	}
	if len(packs) == 0 || len(mem.Keys("backups/")) == 0 {
		t.Fatal("this test no longer covers its case")
	}
	export()
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: mem}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Error(p) }}); err != nil {
		t.Fatal(err)
	}
	checkBucket(t, mem, "user/anne", box).Close()
}
