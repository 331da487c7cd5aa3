package ctlbackups

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// compact -A removes a note that nothing needs, and reports it as text and as JSON, also before (-n).
func TestCompactRemovesNotes(t *testing.T) {
	w := two(t)
	s := w.Stores[0]
	put := func() (note string) {
		t.Helper()
		key := history.PackKey([32]byte{1})
		m := history.Moved{Version: history.Version, Pack: key, Time: w.Now, Entries: map[string]string{}}
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		note, _ = history.MovedKey(key)
		if _, err := s.Put(t.Context(), note, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		w.Now = w.Now.Add(time.Hour)
		return note
	}
	run := func(want string, argv ...string) {
		t.Helper()
		if out, err := tool(t, w, argv...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v: %q is missing in\n%s", argv, err, want, out)
		}
	}
	note := put()
	run(`"notes":1,"newly_unneeded_notes":0,"removed_notes":0,`, "compact", "-A", "--ndjson")
	w.Now = w.Now.AddDate(0, 0, 31)
	run(`"notes":1,"newly_unneeded_notes":1,"removed_notes":0,`, "compact", "-A", "--ndjson")
	w.Now = w.Now.Add(25 * time.Hour)
	run(", 1 old note would be removed", "compact", "-n", "-A")
	run(`"removed_notes":1,`, "compact", "-n", "-A", "--ndjson")
	if s.Bytes(note) == nil {
		t.Fatal("removed with -n")
	}
	run(", 1 old note removed", "compact", "-A")
	if s.Bytes(note) != nil {
		t.Error("the note is still there")
	}
	run("", "verify", "-A")
}
