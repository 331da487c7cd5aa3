package cyrbackup

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// A search of all backups lists the bucket once, and then reads the names, the commits and the
// bodies that it needs.
func TestRequestsToFindEverywhere(t *testing.T) {
	const backups = 20
	w := tooltest.New(t, "default")
	for i := range backups {
		m := tooltest.NewMailbox(fmt.Sprint("user.u", i))
		m.Deliver(tooltest.Mail("hello", "carol@example.org", 300), time.Unix(1700000000, 0))
		w.Sync(m)
	}
	n := map[string]int{}
	var mu sync.Mutex
	w.Stores[0].SetFaults(func(op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		n[op]++
		return nil
	}, nil)
	out, err := tool(t, w, "-A", "find", "since:2100-01-01")
	if err != nil || !strings.Contains(out, "20 messages in 20 mailboxes were compared") {
		t.Fatalf("%v: %s", err, out)
	}
	if n["list"] != 1 || n["get"] != 2*backups {
		t.Errorf("%v requests for %d backups, want one list, and a get of backup.json and of the commit for each", n, backups)
	}
}

// A search that ends early closes the states that were read ahead.
func TestFindEverywhereEnough(t *testing.T) {
	w := tooltest.New(t, "default")
	for i := range 30 {
		m := tooltest.NewMailbox(fmt.Sprint("user.u", i))
		m.Deliver(tooltest.Mail("hello", "carol@example.org", 300), time.Unix(1700000000, 0))
		w.Sync(m)
	}
	gets := 0
	var mu sync.Mutex
	w.Stores[0].SetFaults(func(op, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(key, "/log/") {
			gets++
		}
		return nil
	}, nil)
	out, err := tool(t, w, "-A", "find", "hello", "--max", "1", "--json")
	if err != nil || strings.Count(out, "uniqueid") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	if gets > 15 {
		t.Errorf("%d commits were read for the first hit", gets)
	}
}
