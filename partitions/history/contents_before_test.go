package history

import "testing"

// A log with two holes that have a checkpoint before their ends, as after two retentions with a
// commit between them that had to stay, is listed in finite time.
func TestTwoHolesOfRetention(t *testing.T) {
	w := eightCommits(t)
	for _, n := range []uint64{3, 6} {
		m := w.load(Moment{Number: n})
		if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []uint64{2, 3, 5, 6} {
		w.delete(LogKey(anne, n))
	}
	newest, err := w.log().Newest(t.Context(), 0)
	if err != nil || newest != 8 {
		t.Errorf("the newest commit is %d, %v", newest, err)
	}
	w.commit(&RetainedEvent{From: 1, To: 6})
	m := w.load(Moment{})
	if got := names(t, m); got != "1 2 3 4 5 6 7 8" || m.Tip().Number != 9 {
		t.Errorf("mailboxes %s at commit %d", got, m.Tip().Number)
	}
}
