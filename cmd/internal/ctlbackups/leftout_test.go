package ctlbackups

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// halfDead makes backups in two partitions. One partition then fails every call. It returns the
// users in each partition.
func halfDead(t *testing.T, failure error) (w *tooltest.World, lost, kept []string, calls func() int) {
	t.Helper()
	w = tooltest.New(t, "cold", "warm")
	for i := range 8 {
		user := fmt.Sprint("user", i)
		m := tooltest.NewMailbox("user." + user)
		m.Deliver(tooltest.Mail("hello "+user, "carol@example.org", 3000), time.Unix(1700000000, 0))
		w.Sync(m)
		if _, err := w.Stores[0].Stat(t.Context(), "backups/user/"+user+"/backup.json"); err == nil {
			lost = append(lost, user)
		} else {
			kept = append(kept, user)
		}
	}
	if len(lost) < 2 || len(kept) < 2 {
		t.Fatalf("in the partitions are %v and %v", lost, kept)
	}
	var n atomic.Int64 // several goroutines send requests
	w.Stores[0].SetFaults(memstore.Fault(func(string, string) error { n.Add(1); return failure }), nil)
	return w, lost, kept, func() int { return int(n.Load()) }
}

// A partition that does not answer, or denies access, costs one attempt. The others are listed,
// measured and verified. The last line and the exit status report the omission.
func TestLeftOut(t *testing.T) {
	for name, failure := range map[string]error{
		"no answer": memstore.ErrInjected,
		"denied":    &objstore.Error{Op: "get", Key: "k", Err: objstore.ErrDenied},
	} {
		w, lost, kept, calls := halfDead(t, failure)
		for _, argv := range [][]string{{"list"}, {"list", "-A"}, {"stat", "-A"}, {"verify", "-v", "-A"}, {"stat", "-P", "user"}} {
			before := calls()
			out, err := tool(t, w, argv...)
			if !errors.Is(err, cli.ErrReported) {
				t.Errorf("%s: %v: %v, want an error", name, argv, err)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, "left out: partition cold (memory:cold)") {
				t.Errorf("%s: %v: the last line is %q", name, argv, last)
			}
			if n := strings.Count(out, "ctl_backups: "); n > 1 {
				t.Errorf("%s: %v: %d messages about one partition in\n%s", name, argv, n, out)
			}
			for _, u := range kept {
				if !strings.Contains(out, u) {
					t.Errorf("%s: %v: nothing of %s in %s", name, argv, u, out)
				}
			}
			for _, u := range lost {
				if strings.Contains(out, u) {
					t.Errorf("%s: %v: %s, whose partition cannot be asked, in %s", name, argv, u, out)
				}
			}
			if n := calls() - before; n != 1 {
				t.Errorf("%s: %v: %d calls of the partition, want 1", name, argv, n)
			}
		}
	}
}

// A backup that is found is used, with a warning. If it is not found, it may still exist.
func TestOneBackupWithADeadPartition(t *testing.T) {
	w, lost, kept, _ := halfDead(t, memstore.ErrInjected)
	out, err := tool(t, w, "verify", kept[0], kept[1])
	if err != nil || strings.Count(out, "partition cold (memory:cold) cannot be read") != 2 || !strings.Contains(out, "is out of date") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = tool(t, w, "stat", lost[0])
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "cannot determine whether the backup exists") || strings.Contains(out, "no such backup") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err = tool(t, w, "lock", "-c", "newuser"); err == nil || !strings.Contains(out, "cannot determine") {
		t.Errorf("a backup was made though it may be there: %v: %s", err, out)
	}
}

// A backup that was moved into an unreachable partition is not shown as if it were still in its
// old partition.
func TestMovedIntoADeadPartition(t *testing.T) {
	w, _, kept, _ := halfDead(t, nil)
	if out, err := tool(t, w, "move", kept[0], "cold"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Stores[0].SetFaults(func(string, string) error { return memstore.ErrInjected }, nil)
	out, err := tool(t, w, "list")
	if !errors.Is(err, cli.ErrReported) || strings.Contains(out, kept[0]) || !strings.Contains(out, kept[1]) {
		t.Errorf("%v: %s", err, out)
	}
}
