package history

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// eightCommits makes a log of eight commits, each with its own mailbox and message.
func eightCommits(t *testing.T) *writer {
	t.Helper()
	w := newWriter(t)
	for n := range 8 {
		id := fmt.Sprint("id", n+1)
		msg := message(text(n+1, 10))
		w.commit(mailbox(id, "user.anne."+id), &MessagesEvent{Messages: []Message{msg}}, records(id, record(1, msg.GUID)))
	}
	return w
}

// flip changes a byte in the middle of an object.
func (w *writer) flip(key string) {
	b := w.get(key)
	b[len(b)/3] ^= 0x10
	w.put(key, b)
}

// names returns the uniqueids of the mailboxes in a state.
func names(t *testing.T, m *Mem) string {
	t.Helper()
	var out []string
	for b, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(b.UniqueID, "id"))
	}
	return strings.Join(out, " ")
}

func TestUnreadableCommits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(w *writer)
		want   string // mailboxes
		gaps   string
	}{
		{"a hole", func(w *writer) { w.delete(LogKey(anne, 4)) }, "1 2 3 5 6 7 8", "commit 4 (missing)"},
		{"a long hole", func(w *writer) { w.delete(LogKey(anne, 4)); w.delete(LogKey(anne, 5)) }, "1 2 3 6 7 8", "commits 4 to 5 (missing)"},
		{"the beginning", func(w *writer) { w.delete(LogKey(anne, 1)) }, "2 3 4 5 6 7 8", "commit 1 (missing)"},
		{"a flipped byte", func(w *writer) { w.flip(LogKey(anne, 4)) }, "1 2 3 5 6 7 8", "commit 4 (damaged)"},
		{"the newest", func(w *writer) { w.flip(LogKey(anne, 8)) }, "1 2 3 4 5 6 7", "commit 8 (damaged)"},
		{"another commit", func(w *writer) { w.put(LogKey(anne, 5), w.get(LogKey(anne, 4))) }, "1 2 3 4 6 7 8", "commit 5 (damaged)"},
		{"cut off", func(w *writer) { w.put(LogKey(anne, 6), w.get(LogKey(anne, 6))[:40]) }, "1 2 3 4 5 7 8", "commit 6 (damaged)"},
		{"two of them", func(w *writer) { w.flip(LogKey(anne, 2)); w.delete(LogKey(anne, 5)) }, "1 3 4 6 7 8", "commit 2 (damaged), commit 5 (missing)"},
		{"all", func(w *writer) {
			for n := range uint64(8) {
				w.flip(LogKey(anne, n+1))
			}
		}, "", "commits 1 to 8 (damaged)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := eightCommits(t)
			tt.damage(w)
			if _, err := Load(t.Context(), w.store, anne, Moment{}); !IsUnreadable(err) || errors.Is(err, ErrBeforeFirst) {
				t.Errorf("a strict reader: %v, want damage", err)
			}
			m := w.load(Moment{Tolerant: true})
			if got := names(t, m); got != tt.want {
				t.Errorf("mailboxes %s, want %s", got, tt.want)
			}
			if got := m.MissingCommits(); got != tt.gaps {
				t.Errorf("gaps %q, want %q", got, tt.gaps)
			}
			if m.Tip().Number != 8 {
				t.Errorf("the log ends with %d", m.Tip().Number)
			}
			w.bridge(m)
			// From now on all readers accept the log.
			m = w.load(Moment{})
			if got := names(t, m); got != tt.want || m.MissingCommits() != "" {
				t.Errorf("after the bridge: mailboxes %s, gaps %q", got, m.MissingCommits())
			}
			for b := range m.Mailboxes() {
				if !strings.Contains(b.Resync, tt.gaps) {
					t.Errorf("resync of %s: %q", b.Name, b.Resync)
				}
			}
			// With a checkpoint, readers no longer read the damaged part.
			w.checkpoint()
			if m = w.load(Moment{}); len(m.Gaps()) != 0 || names(t, m) != tt.want {
				t.Errorf("from the checkpoint: %s, %v", names(t, m), m.Gaps())
			}
		})
	}
}

// bridge puts a commit with a bridged event, which lets the log continue.
func (w *writer) bridge(m *Mem) {
	w.t.Helper()
	e := &BridgedEvent{}
	for _, g := range m.Gaps() {
		e.Lost = append(e.Lost, g.Range())
	}
	w.tip = m.Tip()
	w.commit(e)
}

// Events that depend on a lost commit are skipped. The other events of the same commit are
// not.
func TestEventsDependingOnLostCommit(t *testing.T) {
	w := newWriter(t)
	one, two := message(text(1, 10)), message(text(2, 10))
	w.commit(mailbox("a", "user.anne"))
	w.commit(mailbox("b", "user.anne.b"), &MessagesEvent{Messages: []Message{one}}, records("b", record(1, one.GUID)))
	w.commit(records("b", record(2, two.GUID)), &RenameEvent{UniqueID: "b", New: "user.anne.c"}, records("a", record(1, two.GUID)))
	w.delete(LogKey(anne, 2))
	m := w.load(Moment{Tolerant: true})
	if b, err := m.Mailbox("b"); b != nil || err != nil {
		t.Errorf("%+v, %v", b, err)
	}
	if box(t, m, "a").Records != 1 {
		t.Error("the record after the skipped events is missing")
	}
	if n, err := Recount(m, "a"); err != nil || n.Live != box(t, m, "a").Live || n.CRC != box(t, m, "a").CRC {
		t.Errorf("counts %+v, %+v, %v", n, box(t, m, "a"), err)
	}
}

func TestDamagedCheckpointsAreSkipped(t *testing.T) {
	w := newWriter(t)
	for n := range 8 {
		w.commit(mailbox("a", fmt.Sprint("user.anne.", n+1)))
		if n == 2 || n == 5 {
			w.checkpoint()
		}
	}
	w.flip(CheckpointKey(anne, 6))
	m := w.load(Moment{})
	if s := m.Skipped(); box(t, m, "a").Name != "user.anne.8" || m.Checkpoint().Number != 3 || len(s) != 1 || s[0].Object != CheckpointKey(anne, 6) {
		t.Errorf("%+v, checkpoint %d, skipped %v", box(t, m, "a"), m.Checkpoint().Number, s)
	}
	w.flip(CheckpointKey(anne, 3))
	if m = w.load(Moment{}); box(t, m, "a").Name != "user.anne.8" || len(m.Skipped()) != 2 {
		t.Errorf("%+v, skipped %v", box(t, m, "a"), m.Skipped())
	}
}

// A log that ends before a checkpoint has lost its newest commits.
func TestLogEndsBeforeCheckpoint(t *testing.T) {
	w := eightCommits(t)
	w.checkpoint()
	for n := uint64(7); n <= 8; n++ {
		w.delete(LogKey(anne, n))
	}
	m := w.load(Moment{Tolerant: true})
	if got := m.MissingCommits(); got != "commits 7 to 8 (missing)" || m.Tip().Number != 8 {
		t.Errorf("gaps %q, tip %d", got, m.Tip().Number)
	}
	if _, err := Load(t.Context(), w.store, anne, Moment{}); !errors.Is(err, ErrAbsent) {
		t.Errorf("a strict reader: %v", err)
	}
}

// A transient wrong answer of the store does not count as damage.
func TestTransientDamage(t *testing.T) {
	w := eightCommits(t)
	key := LogKey(anne, 4)
	good := w.get(key)
	w.flip(key)
	gets := 0
	w.store.(*memstore.Store).SetFaults(func(op, k string) error {
		if op == "get" && k == key {
			if gets++; gets == 3 {
				w.store.(*memstore.Store).SetFaults(nil, nil)
				w.put(key, good)
			}
		}
		return nil
	}, nil)
	if m := w.load(Moment{}); len(m.Gaps()) != 0 || names(t, m) != "1 2 3 4 5 6 7 8" {
		t.Errorf("%s, gaps %v", names(t, m), m.Gaps())
	}
}
