package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// many makes backups of users in one partition, each with two commits. The paths have the order
// of their keys, in which - is before /.
func many(t *testing.T, n int) (w *tooltest.World, users []string) {
	w = tooltest.New(t, "default")
	for i := range n {
		users = append(users, fmt.Sprintf("u%03d", i))
	}
	users = append(users, "u000-x")
	slices.SortFunc(users, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	for _, user := range users {
		m := tooltest.NewMailbox("user." + user)
		m.Deliver(tooltest.Mail("hello "+user, "carol@example.org", 300), time.Unix(1700000000, 0))
		w.Sync(m)
		m.Deliver(tooltest.Mail("more for "+user, "carol@example.org", 300), time.Unix(1700000000, 0))
		w.Sync(m)
	}
	return w, users
}

// counted counts the requests that fn sends, by operation.
func counted(w *tooltest.World, fn func()) map[string]int {
	n := map[string]int{}
	var mu sync.Mutex
	for _, s := range w.Stores {
		s.SetFaults(func(op, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			n[op]++
			return nil
		}, nil)
		defer s.SetFaults(nil, nil)
	}
	fn()
	return n
}

// Commands for many backups list the bucket once, and send as few requests for each backup as they
// can: for backup.json, and for the commits that they need.
func TestRequestsForManyBackups(t *testing.T) {
	const backups = 40
	w, _ := many(t, backups-1)
	for _, c := range []struct {
		argv  string
		lists int
		gets  int // for each backup
		more  int // gets for all of them
		puts  int
	}{
		{"list", 3, 2, 0, 0}, // backups/, set-aside/ and erased/
		{"list -P u", 1, 2, 0, 0},
		{"stat -A", 1, 3, 0, 0},      // two commits
		{"verify -q -A", 1, 3, 4, 1}, // repository.json, condemned.json, collection.json and upkeep.json; runs/
	} {
		n := counted(w, func() {
			if out, err := tool(t, w, strings.Fields(c.argv)...); err != nil {
				t.Errorf("%s: %v: %s", c.argv, err, out)
			}
		})
		if n["list"] != c.lists || n["get"] != c.gets*backups+c.more || n["put"] != c.puts || n["get"]+n["list"]+n["put"] != total(n) {
			t.Errorf("%s sends %v for %d backups, want %d lists, %d puts, and %d gets for each backup and %d more", c.argv, n, backups, c.lists, c.puts, c.gets, c.more)
		}
	}
}

// total adds up requests of all kinds.
func total(n map[string]int) (sum int) {
	for _, v := range n {
		sum += v
	}
	return sum
}

// The output about many backups is that about each of them, in order.
func TestOutputOfManyBackups(t *testing.T) {
	w, users := many(t, 50)
	for _, argv := range [][]string{{"list"}, {"list", "-j"}, {"stat"}, {"verify", "-q"}, {"verify", "-v"}} {
		var want strings.Builder
		for _, u := range users {
			out, err := tool(t, w, append(slices.Clone(argv), u)...)
			if err != nil {
				t.Fatalf("%v: %v: %s", argv, err, out)
			}
			want.WriteString(out)
		}
		got, err := tool(t, w, append(slices.Clone(argv), "-A")...)
		if err != nil || got != want.String() {
			t.Errorf("%v -A: %v:\n%s\nwant\n%s", argv, err, got, want.String())
		}
	}
}

// A backup that is damaged or cannot be read is reported where it belongs. The others follow.
func TestBrokenAmongMany(t *testing.T) {
	w, users := many(t, 50)
	w.Damage("backups/user/u020/log/0000000000000002.tar.zst")
	w.Stores[0].SetFaults(func(_, key string) error {
		if strings.HasPrefix(key, "backups/user/u030/log/") {
			return memstore.ErrInjected
		}
		return nil
	}, nil)
	for _, argv := range [][]string{{"list"}, {"stat", "-A"}, {"verify", "-q", "-A"}, {"verify", "-A"}} {
		out, err := tool(t, w, argv...)
		if !errors.Is(err, cli.ErrReported) {
			t.Errorf("%v: %v, want an error", argv, err)
		}
		var seen []string
		for _, u := range users {
			if strings.Contains(out, u) {
				seen = append(seen, u)
			}
		}
		if !slices.Equal(seen, users) {
			t.Errorf("%v: only %v are in %s", argv, seen, out)
		}
		if !strings.Contains(out, "u030: ") || !strings.Contains(out, "injected fault") {
			t.Errorf("%v: u030 could not be read, which is not in %s", argv, out)
		}
	}
	out, _ := tool(t, w, "verify", "-A", "-S")
	if strings.Contains(out, "verify u021: ok") || !strings.Contains(out, "verify u019: ok") {
		t.Errorf("-S: %s", out)
	}
}

// A log with more objects than a page of a list does not delay the others, and its size is right.
func TestLongLogAmongMany(t *testing.T) {
	w, users := many(t, 4)
	body := []byte("not a commit, but a key in a log")
	for i := range 2500 {
		key := fmt.Sprintf("backups/user/u001/log/x%04d", i)
		if _, err := w.Stores[0].Put(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := tool(t, w, "list", "-j", "--ndjson")
	if err != nil || strings.Count(out, "\n") != len(users) {
		t.Fatalf("%v: %s", err, out)
	}
	one, err := tool(t, w, "list", "--ndjson", "u001")
	if err != nil || !strings.Contains(out, one) {
		t.Errorf("%v: %s is not in %s", err, one, out)
	}
}

// A backup with one commit takes two requests: for its name and for the commit.
func TestTwoRequestsForABackup(t *testing.T) {
	const backups = 20
	w := tooltest.New(t, "default")
	for i := range backups {
		m := tooltest.NewMailbox(fmt.Sprintf("user.u%02d", i))
		m.Deliver(tooltest.Mail("hello", "carol@example.org", 300), time.Unix(1700000000, 0))
		w.Sync(m)
	}
	for _, argv := range []string{"list", "stat -A", "verify -q -A"} {
		n := counted(w, func() {
			if out, err := tool(t, w, strings.Fields(argv)...); err != nil {
				t.Errorf("%s: %v: %s", argv, err, out)
			}
		})
		if most := 2*backups + 4; n["get"] > most || n["list"] > 3 || n["put"] > 1 || n["get"]+n["list"]+n["put"] != total(n) {
			t.Errorf("%s sends %v for %d backups", argv, n, backups)
		}
	}
}
