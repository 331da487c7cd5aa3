package ctlbackups

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// compact -A rewrites a condemned pack that is used in one night, and removes it in the next one. Both are
// planned with -n, and in the totals of stat.
func TestCompactRewrites(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 8)
	run := func(want string, argv ...string) {
		t.Helper()
		if out, err := tool(t, w, argv...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v: %q is missing in\n%s", argv, err, want, out)
		}
	}
	run("collect default: ok, 2 packs (", "compact", "-A") // merges, and puts packs
	key := w.Stores[0].Keys("packs/")[0]
	list := &history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{{Key: key, Since: w.Now}}}
	b, err := list.Append(nil)
	if err == nil {
		_, err = w.Stores[0].Put(t.Context(), history.CondemnedKey, bytes.NewReader(b), objstore.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	run(" mostly dead or small\n", "compact", "-A")
	run("mostly dead", "stat", "-h", "-A")
	w.Now = w.Now.Add(25 * time.Hour)
	run(" would be rewritten, 1 pack (", "compact", "-n", "-A")
	run(`"rewritten":{"packs":1,`, "compact", "-n", "-A", "--ndjson")
	run(" rewritten to 1 pack (", "compact", "-A")
	run("used, 1 pack (", "compact", "-A") // too early
	w.Now = w.Now.Add(21 * time.Hour)
	run(" would be removed after a rewrite\n", "compact", "-n", "-A")
	run("1 delete", "compact", "-n", "-A")
	if w.Stores[0].Bytes(key) == nil {
		t.Error("the pack was removed too early")
	}
	run(" removed after a rewrite\n", "compact", "-A")
	if w.Stores[0].Bytes(key) != nil {
		t.Error("the pack still exists")
	}
	run("", "verify", "-A")
}
