package ctlbackups

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// doomed is a user who has deleted a message that is to be erased.
type doomed struct {
	*tooltest.World
	t    *testing.T
	bob  *tooltest.Mailbox
	mail []byte
	guid cyrus.GUID
}

func newDoomed(t *testing.T) *doomed {
	t.Helper()
	w := &doomed{World: tooltest.New(t, "default", "cold"), t: t, bob: tooltest.NewMailbox("user.bob"), mail: tooltest.Mail("deleted", "carol@example.org", 900)}
	w.bob.Deliver(tooltest.Mail("kept", "carol@example.org", 900), w.Now)
	w.guid = w.bob.Deliver(w.mail, w.Now).GUID
	w.Sync(w.bob)
	w.bob.Expunge(2)
	w.Sync(w.bob)
	w.Now = w.Now.Add(6 * 24 * time.Hour)
	w.bob.Deliver(tooltest.Mail("new", "carol@example.org", 900), w.Now)
	w.Sync(w.bob)
	return w
}

func (w *doomed) erase(argv ...string) (string, error) {
	w.t.Helper()
	return toolWith(w.t, w.World, "", append([]string{"erase", "bob", "--yes", "--reason", "request", "--message", w.guid.String()}, argv...)...)
}

// open returns the erasures that are not done.
func (w *doomed) open() (list []*repository.Erasure) {
	w.t.Helper()
	for e, err := range repository.Erasures(w.t.Context(), w.Parts[0], time.Time{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		if e.State != repository.ErasureDone {
			list = append(list, e)
		}
	}
	return list
}

// readable checks the message at a commit; 0 = the newest. If it is not readable, it must have been erased.
func (w *doomed) readable(n uint64, want bool) {
	w.t.Helper()
	m, err := history.Load(w.t.Context(), w.Stores[0], "user/bob", history.Moment{Number: n, Now: w.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	st, err := m.Message(w.guid)
	if err != nil || st == nil {
		w.t.Fatal(st, err)
	}
	r, err := history.OpenMessage(w.t.Context(), history.NewObjects(w.Stores[0], 0), st, m.Places)
	if err == nil {
		_ = r.Close()
	}
	if (err == nil) != want || err != nil && !errors.As(err, new(*history.ErasedError)) {
		w.t.Errorf("commit %d: %v", n, err)
	}
}

// The store fails from some change of erase on. Then the user gets the same message again, and erase is run again. If the
// event was put, the erasure is completed, and the new copy stays. Otherwise it is refused, and nothing is left of it: the
// backup can be set aside.
func TestEraseMessageInterrupted(t *testing.T) {
	changes := []int{3, 4, 5, 6, 7, 8, 12} // the list, the record, backup.json, the event, the record, the segments and checkpoints
	if tooltest.Race() {
		changes = []int{6, 7}
	}
	completed, refused := 0, 0
	for _, n := range changes {
		w := newDoomed(t)
		real := w.Parts[0].Store
		f := faultstore.New(real)
		f.Add(faultstore.Fault{Skip: n, Match: func(op, _ string) bool { return op == "put" || op == "delete" }, Before: func(string, string) error {
			return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
		}})
		w.Parts[0].Store = f
		out, err := w.erase()
		w.Parts[0].Store = real
		if open := w.open(); err == nil || len(open) != 1 || open[0].State == repository.ErasurePending {
			t.Fatalf("change %d did not interrupt it: %v: %s", n, err, out)
		}
		w.Now = w.Now.Add(time.Hour)
		w.bob.Deliver(w.mail, w.Now)
		w.Sync(w.bob)
		if out, err = w.erase(); err == nil {
			completed++
			w.completed()
		} else {
			refused++
			w.refused(out, err)
		}
		if t.Failed() {
			t.Fatalf("change %d: %v: %s", n, err, out)
		}
	}
	if completed == 0 || refused == 0 {
		t.Errorf("completed %d times, refused %d times", completed, refused)
	}
}

func (w *doomed) completed() {
	w.t.Helper()
	event := uint64(0)
	for e, err := range repository.Erasures(w.t.Context(), w.Parts[0], time.Time{}) {
		if event = e.Commit; err != nil {
			w.t.Fatal(err)
		}
	}
	for range 3 {
		w.Now = w.Now.Add(25 * time.Hour)
		if out, err := toolWith(w.t, w.World, "", "compact", "-A"); err != nil {
			w.t.Errorf("compact: %v: %s", err, out)
		}
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
	for n := range event {
		if n > 0 {
			w.readable(n, false)
		}
	}
	w.readable(event, false)
	w.readable(0, true)
	if out, err := toolWith(w.t, w.World, "", "verify", "bob"); err != nil {
		w.t.Errorf("%v: %s", err, out)
	}
}

func (w *doomed) refused(out string, err error) {
	w.t.Helper()
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "the user still has it, in user.bob") {
		w.t.Errorf("%v: %s", err, out)
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
	w.readable(1, true)
	w.readable(0, true)
	if out, err := toolWith(w.t, w.World, "", "set-aside", "bob"); err != nil {
		w.t.Errorf("set-aside: %v: %s", err, out)
	}
}

// An erasure fails because of the backup: a commit is lost. compact reports it each night. A person ends it with --cancel, and what
// it has not reached stays.
func TestEraseMessageCancel(t *testing.T) {
	w := newDoomed(t)
	if out, err := w.erase("--cancel"); err == nil || !strings.Contains(out, " is open") {
		t.Errorf("without an erasure: %v: %s", err, out)
	}
	if out, err := w.erase(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := w.erase("--cancel"); err == nil || !strings.Contains(out, "it can be completed") {
		t.Errorf("it can be completed: %v: %s", err, out)
	}
	newest, err := (&history.Log{Store: w.Stores[0], Backup: "user/bob"}).Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.bob.Deliver(tooltest.Mail("newer", "carol@example.org", 900), w.Now)
	w.Sync(w.bob)
	w.Stores[0].Lose(history.LogKey("user/bob", newest))
	w.Now = w.Now.Add(25 * time.Hour)
	if out, err := toolWith(t, w.World, "", "compact", "-A"); err == nil || !strings.Contains(out, "message "+w.guid.String()) {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := w.erase("--cancel", "-n"); err != nil || !strings.Contains(out, "is not complete") || len(w.open()) != 1 {
		t.Errorf("dry run: %v: %s", err, out)
	}
	if out, err := toolWith(t, w.World, "", "erase", "bob", "--yes", "--reason", "x", "--cancel", "--message", strings.Repeat("ab", 20)); err == nil || !strings.Contains(out, " is open") {
		t.Errorf("another message: %v: %s", err, out)
	}
	if out, err := w.erase("--cancel"); err != nil || !strings.Contains(out, "was cancelled on ") || len(w.open()) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	w.readable(1, false)
	if out, err := toolWith(t, w.World, "", "set-aside", "bob"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
