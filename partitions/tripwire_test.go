package partitions_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// wired is a host with a user whose mail gets deleted, on a clock of the test.
type wired struct {
	t     *testing.T
	clock atomic.Int64
	store *memstore.Store
	h     *host
	inbox *source
	work  *source
	trash *source
	boxes []*source
	n     int
}

func newWired(t *testing.T) *wired {
	w := &wired{t: t}
	w.clock.Store(time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC).UnixNano())
	w.store = memstore.New(w.now)
	w.h = newHostWith(t, func(o *partitions.Options) { o.Now, o.ClockPause, o.NoCheckpoints = w.now, time.Nanosecond, true }, w.store)
	w.inbox, w.work, w.trash = newSource("user.anne"), newSource("user.anne.Work"), newSource("user.anne.Trash")
	w.boxes = []*source{w.inbox, w.work, w.trash}
	w.deliver(w.inbox, 60)
	w.deliver(w.work, 40)
	w.later(0)
	w.later(36 * time.Hour)
	return w
}

func (w *wired) deliver(m *source, n int) {
	for range n {
		w.n++
		m.deliver(mail(w.n, 200))
	}
}

// later syncs, and lets time pass.
func (w *wired) later(d time.Duration) {
	w.t.Helper()
	w.h.sync("anne", w.boxes...)
	w.clock.Add(int64(d))
}

func (w *wired) now() time.Time { return time.Unix(0, w.clock.Load()).UTC() }

// expunge deletes the first n live messages.
func (w *wired) expunge(m *source, n int) {
	for _, r := range slices.Clone(m.records) {
		if n > 0 && !r.Expunged() {
			m.flag(r, `\Expunged`)
			n--
		}
	}
}

// move moves the first n live messages to another mailbox.
func (w *wired) move(m, to *source, n int) {
	for _, r := range slices.Clone(m.records) {
		if n > 0 && !r.Expunged() {
			to.deliver(bytes.Clone(m.bodies[r.GUID]))
			m.flag(r, `\Expunged`)
			n--
		}
	}
}

func (w *wired) found() *repository.Found {
	w.t.Helper()
	f, err := repository.Find(w.t.Context(), []repository.Config{{Name: "p0", Location: "memory", Store: w.store}}, repository.UserName("anne"))
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *wired) check(rule string) *tripwire.Alarm {
	w.t.Helper()
	r, err := tripwire.Parse(rule)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := tripwire.Check(w.t.Context(), w.found(), tripwire.Options{Rule: r, DeletedPrefix: "DELETED", Now: w.now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *wired) do(fn func(*client) error) {
	w.t.Helper()
	c := w.h.client()
	defer c.s.Close()
	if err := fn(c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wired) rename(m *source, name string) {
	w.t.Helper()
	w.do(func(c *client) error {
		return c.s.ApplyRename(c.t.Context(), cyrus.Rename{Old: m.name, New: name, Partition: "default", UIDValidity: m.validity})
	})
	m.name = name
}

func (w *wired) drop(m *source) {
	w.boxes = slices.DeleteFunc(w.boxes, func(o *source) bool { return o == m })
}

func (w *wired) special(name, use string) {
	w.t.Helper()
	w.do(func(c *client) error {
		return c.s.ApplyAnnotation(c.t.Context(), cyrus.MailboxAnnotation{Mailbox: name, Entry: "/specialuse", UserID: "anne", Value: &use})
	})
}

// deletion is a way to delete messages, or something similar.
type deletion struct {
	happens func(*wired)
	want    int // of 100; 0 = the tripwire does not fire
	account bool
}

// deletions are ways to delete messages without a trace of them in another mailbox.
func deletions() map[string]deletion {
	return map[string]deletion{
		"nothing":  {func(*wired) {}, 0, false},
		"expunged": {func(w *wired) { w.expunge(w.inbox, 40) }, 40, false},
		"expunged within a day": {func(w *wired) {
			for range 8 {
				w.expunge(w.inbox, 5)
				w.later(2 * time.Hour)
			}
		}, 40, false},
		"expunged within a week": {func(w *wired) {
			for range 8 {
				w.expunge(w.inbox, 5)
				w.later(20 * time.Hour)
			}
		}, 0, false},
		"expunged in turns with a flood": {func(w *wired) {
			w.expunge(w.inbox, 40)
			w.later(time.Hour)
			w.deliver(w.inbox, 500)
		}, 40, false},
		"replaced": {func(w *wired) {
			w.expunge(w.inbox, 40)
			w.deliver(w.inbox, 40)
		}, 40, false},
		"too few": {func(w *wired) { w.expunge(w.inbox, 29) }, 0, false},
		"missing from a complete set": {func(w *wired) {
			w.inbox.records = w.inbox.records[40:]
			w.inbox.modseq += 5
			w.inbox.deletedModSeq = w.inbox.modseq
			w.later(0) // goes into resync
		}, 40, false},
		"an unmailbox": {func(w *wired) {
			w.do(func(c *client) error { return c.s.ApplyUnmailbox(c.t.Context(), w.work.name) })
			w.drop(w.work)
		}, 40, false},
		"a deleted mailbox": {func(w *wired) {
			w.rename(w.work, fmt.Sprintf("DELETED.user.anne.Work.%X", w.now().Unix()))
		}, 40, false},
		"a deleted mailbox that expires later": {func(w *wired) {
			w.rename(w.work, fmt.Sprintf("DELETED.user.anne.Work.%X", w.now().Unix()))
			w.later(30 * 24 * time.Hour)
			w.do(func(c *client) error { return c.s.ApplyUnmailbox(c.t.Context(), w.work.name) })
			w.drop(w.work)
		}, 40, false},
	}
}

// moves are ways to move messages, and to delete the copies.
func moves() map[string]deletion {
	return map[string]deletion{
		"moved to the trash": {func(w *wired) { w.move(w.inbox, w.trash, 40) }, 40, false},
		"moved to a mailbox with the special use": {func(w *wired) {
			w.rename(w.trash, "user.anne.Fort")
			w.special("user.anne.Fort", `\Trash`)
			w.move(w.inbox, w.trash, 40)
		}, 40, false},
		"moved to another mailbox": {func(w *wired) { w.move(w.inbox, w.work, 40) }, 0, false},
		"moved to the trash and back": {func(w *wired) {
			w.move(w.inbox, w.trash, 40)
			w.later(time.Hour)
			w.move(w.trash, w.work, 40)
		}, 0, false},
		"moved, and deleted much later": {func(w *wired) {
			w.move(w.inbox, w.work, 40)
			w.later(10 * 24 * time.Hour)
			w.expunge(w.work, 80) // the moved ones too
		}, 80, false},
		"the trash is emptied": {func(w *wired) {
			w.deliver(w.trash, 60)
			w.later(30 * time.Hour)
			w.expunge(w.trash, 60)
		}, 0, false},
		"the account": {func(w *wired) {
			w.do(func(c *client) error { return c.s.ApplyUnuser(c.t.Context(), "anne") })
			w.boxes = nil
		}, 100, true},
		"the account, with delay": {func(w *wired) {
			for _, m := range []*source{w.work, w.trash, w.inbox} {
				w.rename(m, fmt.Sprintf("DELETED.%s.%X", m.name, w.now().Unix()))
			}
		}, 100, true},
	}
}

// Whatever way 40 of 100 messages are deleted, the rule of 30 % in a day fires. It does not fire for
// fewer, or when the messages are still somewhere.
func TestTripwire(t *testing.T) {
	for _, ways := range []map[string]deletion{deletions(), moves()} {
		for name, c := range ways {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.check(t)
			})
		}
	}
}

func (c deletion) check(t *testing.T) {
	const rule = "30% 1d 25"
	w := newWired(t)
	c.happens(w)
	w.later(time.Hour)
	a := w.check(rule)
	switch {
	case a == nil && c.want > 0:
		t.Errorf("no alarm, want %d of 100", c.want)
	case a != nil && (a.Deleted != c.want || a.Of != 100):
		t.Errorf("alarm: %v, want %d of 100", a, c.want)
	}
	if a != nil {
		for _, text := range []string{a.String(), a.Headline()} {
			if strings.Contains(text, "if the account was deleted on purpose, run ctl_backups release") != c.account {
				t.Errorf("%q", text)
			}
		}
	}
	for _, quiet := range []string{"no", "90% 1d 101", "1% 1d 500"} {
		if a := w.check(quiet); a != nil {
			t.Errorf("%s: %v", quiet, a)
		}
	}
	w.later(100 * 24 * time.Hour)
	if again := w.check(rule); (again == nil) != (a == nil) {
		t.Errorf("months later: %v, at once: %v", again, a)
	}
}

// Messages that the first sync reports as deleted were never in the backup.
func TestTripwireFirstSync(t *testing.T) {
	w := newWired(t)
	b := newSource("user.anne.Old")
	w.boxes = append(w.boxes, b)
	w.deliver(b, 200)
	w.expunge(b, 200)
	w.later(time.Hour)
	if a := w.check("30% 1d 25"); a != nil {
		t.Errorf("%v", a)
	}
}

// A release ends the hold of an alarm, and the same deletions do not fire again; later ones do.
func TestTripwireReleased(t *testing.T) {
	w := newWired(t)
	w.expunge(w.inbox, 40)
	w.later(time.Hour)
	f := w.found()
	for range 2 {
		a := w.check("30% 1d 25")
		if a == nil {
			t.Fatal("no alarm")
		}
		if err := f.PlaceHold(t.Context(), a.Hold("the test"), w.now); err != nil {
			t.Fatal(err)
		}
	}
	ended, err := f.ReleaseHolds(t.Context(), w.now, repository.AnyHold)
	if err != nil || len(ended) != 1 || ended[0].Kind != repository.HoldTripwire {
		t.Fatalf("%v, %v", ended, err)
	}
	if a := w.check("30% 1d 25"); a != nil {
		t.Errorf("after the release: %v", a)
	}
	w.later(time.Hour)
	w.expunge(w.work, 30)
	w.later(time.Hour)
	if a := w.check("30% 1d 25"); a == nil || a.Deleted != 30 || a.Of != 60 {
		t.Errorf("new deletions: %v", a)
	}
}

// With checkpoints before, in and after the window, the result is the same.
func TestTripwireWithCheckpoints(t *testing.T) {
	w := newWired(t)
	mark := func() {
		m := load(t, w.store, "user/anne")
		defer m.Close()
		if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	mark()
	for range 4 {
		w.expunge(w.inbox, 10)
		w.later(time.Hour)
		mark()
	}
	if a := w.check("30% 1d 25"); a == nil || a.Deleted != 40 || a.Of != 100 {
		t.Errorf("%v", a)
	}
}

// A backup that cannot be read completely is an error: nothing may be removed from it.
func TestTripwireUnreadable(t *testing.T) {
	w := newWired(t)
	w.expunge(w.inbox, 40)
	w.later(time.Hour)
	w.store.Lose("backups/user/anne/log/0000000000000001.tar.zst")
	r, err := tripwire.Parse("30% 1d 25")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := tripwire.Check(t.Context(), w.found(), tripwire.Options{Rule: r, Now: w.now()}); err == nil {
		t.Errorf("%v, want an error", a)
	}
}
