package partitions_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A damaged list of notes is made again, with the removals that can be read. Whoever relies on a note then waits for two
// hours, because the damage may have hidden a removal.
func TestRepairRetiredList(t *testing.T) {
	c := &clocked{now: time.Now()}
	s := memstore.New(c.clock)
	h := newHostWith(t, c.options, s)
	anne := newSource("user.anne")
	anne.deliver(mail(1, 3000))
	h.sync("anne", anne)
	h.stop()
	var list bytes.Buffer
	w, err := history.NewRetiredWriter(&list, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		line := history.RetiredNote{Pack: history.PackID{byte(n >> 8), byte(n)}, Removed: c.now.AddDate(0, -1, 0).UTC()}
		if err := w.Add(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put := c.now
	b := list.Bytes()[:list.Len()-20]
	if _, err := s.Put(t.Context(), history.RetiredKey, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(30 * time.Minute)
	problems := 0
	_, err = verify.Run(t.Context(), found(t, s), verify.Options{Report: func(p verify.Problem) {
		if problems++; p.Object != history.RetiredKey {
			t.Errorf("verify: %s", p)
		}
	}})
	if err != nil || problems != 1 {
		t.Fatalf("%d problems: %v", problems, err)
	}
	o := verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {}, Lock: repository.LockOptions{Owner: "test", Host: "test", Now: c.clock}}
	if _, err := verify.Repair(t.Context(), found(t, s), o); err != nil {
		t.Fatal(err)
	}
	noDamage(t, s)
	now, err := history.OpenRetired(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	if !now.Lost.Equal(put) {
		t.Errorf("the list shows that it lost removals until %s, want %s, when it was put", now.Lost, put)
	}
	any := func(string) bool { return true }
	if _, err := repository.KeepNotes(t.Context(), s, put, put.Add(time.Hour), any); err == nil {
		t.Error("a note is relied on an hour later")
	}
	if again, err := repository.KeepNotes(t.Context(), s, put, put.Add(3*time.Hour), any); !again || err != nil {
		t.Errorf("three hours later: %v, %v", again, err)
	}
}
