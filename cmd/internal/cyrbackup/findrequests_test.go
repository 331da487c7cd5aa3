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

// A search that ends early ends the searches that are ahead, and begins no others.
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
	if most := 2 * (searchedAtOnce + 2); gets > most { // for the state and for the message of each
		t.Errorf("%d commits were read for the first hit, at most %d of 30 backups may be", gets, most)
	}
}

// Several backups are searched at a time, and the hits are in order, each backup's as if it were
// searched alone.
func TestFindEverywhereSideBySide(t *testing.T) {
	w := tooltest.New(t, "default")
	var want strings.Builder
	for i := range 12 {
		m := tooltest.NewMailbox(fmt.Sprintf("user.u%02d", i))
		for j := range 5 {
			m.Deliver(tooltest.Mail(fmt.Sprint("hello ", j), "carol@example.org", 300), time.Unix(1700000000, 0))
		}
		w.Sync(m)
		out, err := tool(t, w, fmt.Sprintf("u%02d", i), "find", "hello", "--json")
		if err != nil {
			t.Fatal(err, out)
		}
		want.WriteString(out)
	}
	second := map[string]int{}
	var mu sync.Mutex
	together := make(chan struct{})
	reading := 0
	w.Stores[0].SetFaults(func(op, key string) error {
		if op != "get" || !strings.Contains(key, "/log/") {
			return nil
		}
		mu.Lock()
		second[key]++
		wait := second[key] == 2 // the state was read before: this is a message
		if wait {
			if reading++; reading == 2 {
				close(together)
			}
		}
		mu.Unlock()
		if wait {
			select {
			case <-together:
			case <-time.After(10 * time.Second):
				t.Error("a search waits for the one before")
			}
		}
		return nil
	}, nil)
	got, err := tool(t, w, "-A", "find", "hello", "--json")
	if err != nil || got != want.String() {
		t.Errorf("%v:\n%s\nwant\n%s", err, got, want.String())
	}
	got, err = tool(t, w, "-A", "find", "hello", "--json", "--max", "13")
	if lines := strings.SplitAfter(want.String(), "\n"); err != nil || got != strings.Join(lines[:13], "") {
		t.Errorf("--max: %v:\n%s", err, got)
	}
}
