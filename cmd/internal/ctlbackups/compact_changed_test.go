package ctlbackups

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// A changed backup costs at most three GETs, beside the commits that are merged and the segment that
// replaces them, which is read back. The night after costs nothing.
func TestCompactChanged(t *testing.T) {
	w := tooltest.New(t, "default")
	const users, changed, conf = 6, 4, "backup_retention: 90d\n"
	var boxes []*tooltest.Mailbox
	deliver := func(m *tooltest.Mailbox) {
		m.Deliver(tooltest.Mail(fmt.Sprint("message ", len(boxes), w.Now), "carol@example.org", 300), w.Now)
		w.Sync(m)
	}
	// night returns the requests for objects of backups, by operation and kind of object.
	night := func() map[string]int {
		n := map[string]int{}
		var mu sync.Mutex
		w.Stores[0].SetFaults(func(op, key string) error {
			mu.Lock()
			defer mu.Unlock()
			if name, of := strings.CutPrefix(key, "backups/user/u"); of {
				n[op+" "+kindOfObject(name)]++
			}
			return nil
		}, nil)
		defer w.Stores[0].SetFaults(nil, nil)
		if out, err := toolWith(t, w, conf, "compact", "-A"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return n
	}
	for i := range users {
		boxes = append(boxes, tooltest.NewMailbox(fmt.Sprintf("user.u%02d", i)))
		deliver(boxes[i])
		deliver(boxes[i])
	}
	w.Now = w.Now.AddDate(0, 0, 4)
	want := func(what string, got map[string]int, want ...string) {
		t.Helper()
		var all []string
		for k, n := range got {
			all = append(all, fmt.Sprintf("%d %s", n, k))
		}
		slices.Sort(all)
		slices.Sort(want)
		if !slices.Equal(all, want) {
			t.Errorf("%s: %q, want %q", what, all, want)
		}
	}
	each := func(n int, list ...string) (all []string) {
		for _, k := range list {
			all = append(all, fmt.Sprintf("%d %s", n, k))
		}
		return all
	}
	first := night()
	if first["get backup.json"] != 3*users || first["get upkeep.json"]+first["stat upkeep.json"] != 0 {
		t.Errorf("the first night: %v", first) // backup.json is not known yet
	}
	want("the next night", night())
	deliverSome := func() {
		for _, m := range boxes[:changed] {
			deliver(m)
		}
	}
	// The merged commit and the newest one, the proof that it is the same backup, and the uses.
	merge := append(each(2*changed, "get commit", "put upkeep.json"),
		each(changed, "get segment", "get backup.json", "get uses.ndjson.zst", "list backup", "put segment", "put uses.ndjson.zst", "delete commit")...)
	deliverSome() // so that the one before is no longer the newest
	want("a merge", night(), merge...)
	deliverSome()
	want("a new commit, nothing to merge", night(), each(changed, "get commit", "get uses.ndjson.zst")...)
	want("nothing new", night())
	w.Now = w.Now.AddDate(0, 0, 4)
	want("another merge", night(), merge...)
	want("the night after", night())
}

// kindOfObject returns the kind of an object from the end of its key.
func kindOfObject(key string) string {
	_, rel, _ := strings.Cut(key, "/")
	name, isLog := strings.CutPrefix(rel, "log/")
	switch {
	case rel == "":
		return "backup"
	case isLog && strings.Contains(name, "-"):
		return "segment"
	case isLog:
		return "commit"
	}
	return rel
}
