package ctlbackups

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// lastOf returns the last key with a prefix.
func lastOf(s *memstore.Store, prefix string) string {
	keys := s.Keys(prefix)
	return keys[len(keys)-1]
}

// A dry run prints what the command would do, and changes nothing. Then the repair runs, and the
// next sync does the rest.
func TestRepair(t *testing.T) {
	w := two(t)
	store := w.Stores[0]
	for _, key := range store.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	store.Lose("backups/user/anne@example.org/backup.json")
	keys := store.Keys("")
	out, err := tool(t, w, "verify", "--repair", "-n", "-A")
	if !errors.Is(err, cli.ErrReported) {
		t.Errorf("a dry run with something to repair: %v", err)
	}
	for _, want := range []string{
		"bob: (dry run) lost: backups/user/bob/log/: commit", "verify bob: can be repaired (", "verify anne@example.org: can be repaired (1 problem)",
		"anne@example.org: (dry run) repaired: backups/user/anne@example.org/backup.json: rewritten",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("a dry run lacks %q:\n%s", want, out)
		}
	}
	if now := store.Keys(""); !slices.Equal(now, keys) {
		t.Errorf("a dry run has changed the keys:\n%q, were\n%q", now, keys)
	}
	out, err = tool(t, w, "verify", "--repair", "-A")
	if err != nil {
		t.Errorf("verify --repair: %v\n%s", err, out)
	}
	for _, want := range []string{"verify bob: repaired\n", "verify anne@example.org: repaired\n", "on the mail server: sync_client -n backup -v -u bob\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out, err = tool(t, w, "verify", "-A"); err != nil || strings.Contains(out, "failed") {
		t.Errorf("verify afterwards: %v\n%s", err, out)
	}
	if out, err = tool(t, w, "verify", "--repair", "--ndjson", "bob"); err != nil || !strings.Contains(out, `"status":"ok"}`) {
		t.Errorf("once more: %v\n%s", err, out)
	}
}

// The JSON has the repairs and the remaining problems.
func TestRepairForPrograms(t *testing.T) {
	w := two(t)
	w.Damage(lastOf(w.Stores[0], "backups/user/bob/log/"))
	out, err := tool(t, w, "verify", "--repair", "--ndjson", "bob")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{`"status":"repaired","repairs":[{"outcome":"lost",`, `"next":"sync_client -n backup -v -u bob"}`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// Repair rejects objects that nothing proves to be the user's backup, and names the way out.
func TestRejectedRepair(t *testing.T) {
	w := two(t)
	store := w.Stores[0]
	for _, key := range store.Keys("backups/user/bob/") {
		store.Truncate(key, 10)
	}
	out, err := tool(t, w, "verify", "--repair", "bob", "anne@example.org")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "run ctl_backups set-aside to start a new one") || !strings.Contains(out, "verify anne@example.org: ok\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = tool(t, w, "set-aside", "bob"); err != nil {
		t.Errorf("set-aside: %v\n%s", err, out)
	}
	for _, argv := range []string{"list -n", "verify -n bob", "verify --repair -q bob", "stat --repair bob"} {
		var usage *cli.UsageError
		if _, err := tool(t, w, strings.Fields(argv)...); !errors.As(err, &usage) {
			t.Errorf("%s: %v, want a usage error", argv, err)
		}
	}
}
