package erasure_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// letters is a world where anne's messages 1, 3 and 4, which she has deleted, are to be erased: see past.
type letters struct {
	*past
	numbers []int
	noWait  bool               // do not wait for leases
	times   map[time.Time]bool // of the erasures on record
}

func newLetters(t *testing.T) *letters { return &letters{past: newPast(t), numbers: []int{1, 3, 4}} }

func (w *letters) guids() (list []cyrus.GUID) {
	for _, n := range w.numbers {
		list = append(list, message(n).GUID)
	}
	return list
}

func (w *letters) tryMessages() (*erasure.Done, error) {
	return w.tryErasing("anne", w.guids()...)
}

func (w *letters) tryErasing(user string, guids ...cyrus.GUID) (*erasure.Done, error) {
	o := w.historyOptions()
	o.Forget.Until = time.Time{}
	o.Forget.Lock.Wait = !w.noWait
	s, err := erasure.LookAtMessages(w.t.Context(), w.parts(), repository.UserName(user), guids, o.Forget.RetainOptions)
	if err != nil {
		return nil, err
	}
	return erasure.EraseMessages(w.t.Context(), s, o)
}

func (w *letters) eraseOf(user string, g cyrus.GUID) error {
	_, err := w.tryErasing(user, g)
	return err
}

func (w *letters) mustMessages() *erasure.Done {
	w.t.Helper()
	done, err := w.tryMessages()
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// bodies returns the keys of objects and former versions that have the body of one of the messages.
func (w *letters) bodies() (keys []string) {
	w.t.Helper()
	for key, b := range w.mem.All() {
		text := plain(b)
		for _, n := range w.numbers {
			if bytes.Contains(b, body(n)) || bytes.Contains(text, body(n)) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// at checks the bodies of anne's messages at a moment: those to be erased must be, if they are there, and all others
// readable.
func (w *letters) at(moment history.Moment) {
	w.t.Helper()
	m, err := w.found("anne").Load(w.t.Context(), moment)
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	objects := history.NewObjects(w.mem, 0)
	w.times = map[time.Time]bool{}
	for _, e := range w.records() {
		w.times[e.Erased.UTC().Truncate(time.Second)] = true
	}
	n := 0
	for s, err := range m.Messages() {
		if err == nil {
			s, err = m.Message(s.GUID)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		r, err := history.OpenMessage(w.t.Context(), objects, s, m.Places)
		if err == nil {
			_ = r.Close()
		}
		n++
		var erased *history.ErasedError
		if slices.Contains(w.guids(), s.GUID) {
			if !errors.As(err, &erased) || !w.times[erased.At.UTC()] || history.IsDamage(err) {
				w.t.Errorf("%+v: message %s: %v", moment, s.GUID, err)
			}
		} else if err != nil {
			w.t.Errorf("%+v: message %s: %v", moment, s.GUID, err)
		}
	}
	if n == 0 {
		w.t.Errorf("%+v: no messages", moment)
	}
}

// gone checks that nobody can restore the messages, that each moment shows it, and that the rest is there.
func (w *letters) gone() {
	w.t.Helper()
	newest, err := w.found("anne").Log().Newest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for n := uint64(1); n <= newest; n++ {
		w.at(history.Moment{Number: n})
		w.at(history.Moment{Number: n, FromLog: true})
	}
	w.check("bert", 103, 104)
	for _, user := range []string{"anne", "bert"} {
		_, err := verify.Run(w.t.Context(), w.found(user), verify.Options{Report: func(p verify.Problem) { w.t.Errorf("verify %s: %s", user, p) }})
		if err != nil {
			w.t.Error(err)
		}
	}
}

// nowhere checks that the erasure is complete.
func (w *letters) nowhere() {
	w.t.Helper()
	w.gone()
	if left := w.bodies(); len(left) > 0 {
		w.t.Errorf("a body is in %q", left)
	}
	if !w.has(w.own) {
		w.t.Error("a pack without erased messages was rewritten")
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
}

// Nobody can restore an erased message, at any moment, and a night later its bytes are nowhere. The rest is unchanged.
func TestEraseMessages(t *testing.T) {
	w := newLetters(t)
	done := w.mustMessages()
	if done.State != repository.ErasurePending || done.Version != 3 || len(done.Messages) != 3 || done.Commit == 0 || done.Reason != "request" {
		t.Errorf("%+v", done.Erasure)
	}
	w.gone()
	for _, key := range w.bodies() {
		if key != w.private && key != w.mixed {
			t.Errorf("a body is in %s", key)
		}
	}
	if w.condemned(w.own) || !w.condemned(w.private) || !w.condemned(w.mixed) {
		t.Error("the wrong packs are condemned")
	}
	w.later(15 * hour)
	w.finish()
	w.nowhere()
	s, err := erasure.LookAtMessages(t.Context(), w.parts(), anneName, w.guids(), w.historyOptions().Forget.RetainOptions)
	if err != nil || s.Messages[0].Erased.IsZero() || s.Messages[0].Held {
		t.Errorf("%+v, %v", s, err)
	}
}

// A message that the user still has is refused, and so are an unknown one, a young one, a hold, and another erasure.
// Nothing changes.
func TestMessagesRefused(t *testing.T) {
	w := newLetters(t)
	for name, c := range map[string]struct {
		before func(w *letters)
		want   any
	}{
		"live":    {func(w *letters) { w.numbers = []int{1, 101} }, new(*maintenance.LiveError)},
		"unknown": {func(w *letters) { w.numbers = []int{1, 50} }, erasure.ErrNoMessage},
		"young": {func(w *letters) {
			w.commit("anne", map[int]string{8: ""})
			w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{8}})
			w.numbers = []int{1, 8}
		}, maintenance.ErrTooYoung},
		"hold":    {func(w *letters) { w.hold(w.found("anne"), repository.HoldPlaced) }, repository.ErrOnHold},
		"another": {func(w *letters) { w.mustHistory() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w = newLetters(t)
			c.before(w)
			before := w.content2()
			_, err := w.tryMessages()
			switch want := c.want.(type) {
			case error:
				if !errors.Is(err, want) {
					t.Errorf("%v", err)
				}
			case **maintenance.LiveError:
				if !errors.As(err, want) {
					t.Errorf("%v", err)
				}
			default:
				if err == nil {
					t.Error("not refused")
				}
			}
			if after := w.content2(); after != before {
				t.Errorf("it has changed:\n%s\n%s", before, after)
			}
		})
	}
}

// content2 describes all objects but leases.
func (w *letters) content2() (out string) {
	for _, key := range w.below("") {
		if b := w.mem.Bytes(key); b != nil && key != repository.UpkeepKey(anne) && key != repository.CollectionKey {
			out += fmt.Sprintf("%s %x\n", key, sha256.Sum256(b))
		}
	}
	return out
}
