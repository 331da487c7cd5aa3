package bucketrestore

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A request to put a checkpoint can arrive in another log. The script ignores it, wherever that log ends,
// as format.md 5.3 asks of every reader.
func TestLateCheckpoint(t *testing.T) {
	other, _ := anneWith(t, 31, 32, 33, 34)
	state, err := history.Load(t.Context(), other, "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	if _, err := state.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	late := map[string][]byte{}
	for _, key := range other.Keys("backups/user/anne/") {
		if strings.Contains(key, "/checkpoints/") || strings.Contains(key, "/records/") {
			late[key] = other.Bytes(key)
		}
	}
	env := []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}
	for name, messages := range map[string][]int{
		"the log ends before it":    {1, 2},
		"the log ends with it":      {1, 2, 3, 4},
		"the log ends after it":     {1, 2, 3, 4, 5, 6},
		"the next commit is merged": {1, 2, 3, 4, 5, 6, 7, 8},
	} {
		t.Run(name, func(t *testing.T) {
			s, want := anneWith(t, messages...)
			if len(messages) == 8 {
				compact(t, s, "user/anne")
			}
			dir := t.TempDir()
			copyTo(t, s, dir)
			if putInto(t, dir, late, func(string) bool { return true }) == 0 {
				t.Fatal("there is no checkpoint")
			}
			p := &person{t, dir, env}
			out, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "Maildir"))
			if err != nil || !strings.Contains(diag, "checkpoint 4 is of another log and is ignored") {
				t.Errorf("%v\n%s%s", err, out, diag)
			}
			compare(t, name, p.restore("restore", "user/anne"), want)
		})
	}
}
