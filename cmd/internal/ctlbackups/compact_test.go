package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// compact merges the changes of days that are over, prints a line for each backup, and has
// nothing to do afterwards.
func TestCompact(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	if out, err := toolWith(t, w, "", "compact", "-n", "-v", "-A"); err != nil || strings.Count(out, ": to do: 1 commit into 1 segment, 1 object (") != 2 || !strings.Contains(out, "2 backups to be compacted\nmerge: 2 commits (") ||
		!strings.Contains(out, "\nrequests: about ") {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	if out, err := toolWith(t, w, "", "compact", "-n", "--ndjson", "bob"); err != nil || !strings.Contains(out, `"fname":"default:user/bob","status":"ok","dry_run":true,"commits":1,"segments":1,"removed":1,"bytes":`) {
		t.Errorf("dry run as JSON: %v\n%s", err, out)
	}
	out, err := toolWith(t, w, "", "compact", "-v", "-A")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"compact bob: ok: 1 commit into 1 segment, 1 object (1.", "compact anne@example.org: ok: ",
		"2 backups compacted\nmerge: 2 commits into 2 segments, 2 objects ("} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var mu sync.Mutex // backups are looked up side by side
	var calls []string
	w.Stores[0].SetFaults(func(op, key string) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, op+" "+key)
		return nil
	}, nil)
	if out, err = toolWith(t, w, "", "compact", "-A"); err != nil || !strings.HasPrefix(out, "0 backups compacted, 2 with nothing to do\ncollect default: ok, 2 packs (") {
		t.Errorf("again: %v\n%s", err, out)
	}
	w.Stores[0].SetFaults(nil, nil)
	calls = slices.DeleteFunc(calls, func(c string) bool {
		return c == "list backups/" || strings.HasSuffix(c, "/backup.json") || strings.HasSuffix(c, " repository.json") || c == "put runs/compact.json" || ofCollection(c)
	})
	if len(calls) > 0 {
		t.Errorf("nothing to do, but %q", calls)
	}
	if out, err = toolWith(t, w, "", "compact", "--ndjson", "bob"); err != nil || out != `{"command":"compact","userid":"bob","fname":"default:user/bob","status":"skipped","commits":0,"segments":0,"removed":0,"bytes":0}`+"\n" {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
	if out, err = tool(t, w, "verify", "-A"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// ofCollection reports whether a request belongs to collection, when nothing has changed.
func ofCollection(call string) bool {
	_, key, _ := strings.Cut(call, " ")
	return slices.Contains([]string{repository.CollectionKey, collection.ResultKey, collection.RegisterKey, history.CondemnedKey, "set-aside/", "erased/", "moved/", "packs/"}, key)
}

// compact -A removes packs that no backup names: it condemns them when they are a week old,
// and removes them a day later.
func TestCompactCollects(t *testing.T) {
	w := two(t)
	orphan := history.PackKey([32]byte{1})
	if _, err := w.Stores[0].Put(t.Context(), orphan, bytes.NewReader([]byte("orphan")), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	there := func() bool { return w.Stores[0].Bytes(orphan) != nil }
	w.Now = w.Now.AddDate(0, 0, 8)
	if out, err := tool(t, w, "compact", "bob"); err != nil || strings.Contains(out, "collect") {
		t.Errorf("one backup: %v\n%s", err, out)
	}
	if out, err := tool(t, w, "compact", "-A"); err != nil || !strings.Contains(out, "collect default: ok, ") || !strings.Contains(out, ", 1 pack (6 B) to be removed later\n") {
		t.Errorf("%v\n%s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 2)
	if out, err := tool(t, w, "compact", "-n", "-A"); err != nil || !strings.Contains(out, ", 1 pack (6 B) would be removed\n") || !there() {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	unknown := "backups/user/bob/unknown"
	if _, err := w.Stores[0].Put(t.Context(), unknown, bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "compact", "-A"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "collect default: blocked, ") || !strings.Contains(out, "no pack is removed because of backups/user/bob: "+unknown) || !there() {
		t.Errorf("blocked: %v\n%s", err, out)
	}
	w.Stores[0].Lose(unknown)
	if out, err := tool(t, w, "compact", "-A", "--ndjson"); err != nil || !strings.Contains(out, `"command":"collect","partition":"default","status":"ok"`) || !strings.Contains(out, `"removed":{"packs":1,"bytes":6}`) || there() {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
	if out, err := tool(t, w, "verify", "-A"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// A backup that cannot be compacted does not stop the others, and the status is 75.
func TestCompactFailures(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	f, err := w.Bucket("").Find(t.Context(), cli.ByUser, "bob")
	if err != nil {
		t.Fatal(err)
	}
	u, err := repository.BeginUpkeep(t.Context(), f, repository.LockOptions{Owner: "the test", Now: func() time.Time { return w.Now }})
	if err != nil {
		t.Fatal(err)
	}
	out, err := toolWith(t, w, "", "compact", "-v", "-A")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "compact bob: locked (") || !strings.Contains(out, "1 backup compacted, 1 locked\n") || !strings.Contains(out, "another program is compacting it (by the test since ") || !strings.Contains(out, "compact anne@example.org: ok: ") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := u.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Damage("backups/user/bob/log/0000000000000001.tar.zst")
	w.Now = w.Now.AddDate(0, 0, 4)
	if out, err = toolWith(t, w, "", "compact", "-A"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "stderr: ctl_backups: compact bob: ") || !strings.Contains(out, ", 1 failed\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = toolWith(t, w, "", "compact", "--ndjson", "bob"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, `"status":"failed","reason":"backups/user/bob/log/`) {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
}

// With --for, no backup is begun after that time, which is no failure.
func TestCompactFor(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	out, err := toolWith(t, w, "", "compact", "-A", "--for", "1ns")
	if err != nil || strings.Contains(out, "compact bob") || !strings.Contains(out, "the time of --for has passed") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = toolWith(t, w, "", "compact", "-v", "-A", "--for", "1h"); err != nil || !strings.Contains(out, "compact bob: ok: ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// If the clocks of the store and of this host differ, ages are unknown: nothing is done.
func TestCompactClock(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	w.Ahead = time.Hour
	out, err := toolWith(t, w, "", "compact", "-A")
	if !errors.Is(err, cli.ErrReported) || strings.Contains(out, ": ok") || strings.Count(out, "the time is uncertain") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

// compact removes the history that backup_retention does not keep, and says so if it keeps all.
func TestCompactRetention(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	if out, err := toolWith(t, w, "", "compact", "-A"); err != nil || !strings.Contains(out, "backup_retention is not set: everything is kept for ever") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := toolWith(t, w, "backup_keep_daily: 7\n", "compact", "bob"); err != nil || !strings.Contains(out, "backup_keep_daily has no effect without backup_retention") {
		t.Errorf("%v\n%s", err, out)
	}
	m := tooltest.NewMailbox("user.carl")
	for i := range 12 {
		m.Deliver(tooltest.Mail(fmt.Sprint("mail ", i), "carol@example.org", 3000), w.Now)
		w.Sync(m)
		w.Now = w.Now.AddDate(0, 0, 1)
	}
	const conf = "backup_retention: 3d\nbackup_keep_daily: 2\n"
	if out, err := toolWith(t, w, conf, "compact", "carl"); err != nil || !strings.Contains(out, "compact carl: ok\n") {
		t.Errorf("the first run only merges: %v\n%s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 3)
	plan, err := toolWith(t, w, conf, "compact", "-n", "carl")
	if err != nil || !strings.Contains(plan, "compact carl: to do: 1 commit into 1 segment, 1 object (1.8 KiB) removed, retention removes the history up to commit ") {
		t.Errorf("dry run: %v\n%s", err, plan)
	}
	out, err := toolWith(t, w, conf, "compact", "-v", "-A")
	if err != nil || !strings.Contains(out, ", retention removed the history up to commit ") || !strings.Contains(out, "(daily), ") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = toolWith(t, w, conf, "verify", "-A"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func TestRetentionPolicy(t *testing.T) {
	const day = 24 * time.Hour
	for conf, want := range map[string]maintenance.Policy{
		"":                        {DeletedFolders: 30 * day},
		"backup_retention: 7\n":   {Keep: 7 * day, DeletedFolders: 30 * day},
		"backup_retention: 60d\n": {Keep: 60 * day, DeletedFolders: 60 * day},
		"backup_retention: 1h\n":  {Keep: 2 * day, DeletedFolders: 30 * day},
		"backup_retention: -1\n":  {DeletedFolders: 30 * day},
		"backup_retention: 7d\nbackup_deleted_folders: 3\nbackup_keep_daily: 1\nbackup_keep_weekly: 2\nbackup_keep_monthly: 3\nbackup_keep_yearly: 4\n": {
			Keep: 7 * day, DeletedFolders: 3 * day, Daily: 1, Weekly: 2, Monthly: 3, Yearly: 4},
		"backup_retention: 7d\nbackup_deleted_folders: 0\n": {Keep: 7 * day},
	} {
		want.DeletedPrefix, want.LogMinAge = "DELETED", 2*day
		if got := retentionPolicy(tooltest.New(t, "default").Bucket(conf).Conf); got != want {
			t.Errorf("%q:\n%+v, want\n%+v", conf, got, want)
		}
	}
}

// With --limit-requests, a run takes as long as its requests do at that rate.
func TestCompactLimit(t *testing.T) {
	w := two(t)
	w.Now = w.Now.AddDate(0, 0, 4)
	if out, err := tool(t, w, "compact", "-A", "--limit-requests", "0"); err == nil {
		t.Errorf("no error: %s", out)
	}
	var made atomic.Int64
	w.Stores[0].SetFaults(func(string, string) error {
		made.Add(1)
		return nil
	}, nil)
	begun := time.Now()
	out, err := tool(t, w, "compact", "-n", "-A", "--limit-requests", "50")
	calls := made.Load()
	if err != nil || calls < 3 || time.Since(begun) < time.Duration(calls-1)*20*time.Millisecond {
		t.Errorf("%d calls in %v: %v\n%s", calls, time.Since(begun), err, out)
	}
}
