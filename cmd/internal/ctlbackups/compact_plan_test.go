package ctlbackups

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
)

// A dry run finds the deletions that would stop retention, and changes nothing.
func TestDryRunTripwire(t *testing.T) {
	w := massDeletion(t)
	if out, err := toolWith(t, w, fewMessages, "compact", "-n", "-A"); err != nil || !strings.Contains(out, ", 1 on hold (ctl_backups list --holds)\nmerge: 14 commits (") {
		t.Errorf("before the merge: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "backup_tripwire: no\n", "compact", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 30)
	out, err := toolWith(t, w, fewMessages, "compact", "-n", "-v", "-A")
	if err != nil || !strings.Contains(out, "compact bob: on hold (compact would place a hold: 6 of 10 messages were deleted") ||
		!strings.Contains(out, "0 backups to be compacted, 1 on hold") || !strings.Contains(out, ": nothing to remove\n") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := toolWith(t, w, fewMessages, "list", "--holds"); err != nil || out != "" {
		t.Errorf("the dry run has placed a hold: %v: %s", err, out)
	}
	out, err = toolWith(t, w, "backup_retention: 10d\nbackup_tripwire: no\n", "compact", "-n", "-v", "-A")
	if err != nil || !strings.Contains(out, "compact bob: to do: ") || !strings.Contains(out, "would remove the older history of 1 backup: ") {
		t.Errorf("without the tripwire: %v: %s", err, out)
	}
}

// The requests that a dry run shows are about those of the real run: at most half as many more or
// fewer.
func TestDryRunRequests(t *testing.T) {
	w := massDeletion(t)
	const merge, retain = "backup_tripwire: no\n", "backup_retention: 10d\nbackup_tripwire: no\n"
	for _, conf := range []string{merge, retain} {
		plan, err := toolWith(t, w, conf, "compact", "-n", "--ndjson", "bob")
		if err != nil {
			t.Fatalf("%v: %s", err, plan)
		}
		var about struct{ Requests maintenance.Requests }
		if err := json.NewDecoder(strings.NewReader(plan)).Decode(&about); err != nil {
			t.Fatal(err)
		}
		n := counted(w, func() {
			if out, err := toolWith(t, w, conf, "compact", "bob"); err != nil || out != "compact bob: ok\n" && !strings.Contains(out, "stderr") {
				t.Errorf("%v: %s", err, out)
			}
		})
		got := maintenance.Requests{Get: n["get"] + n["stat"], Put: n["put"] + n["list"], Delete: n["delete"]}
		for _, x := range []struct {
			kind       string
			about, got int
		}{{"get", about.Requests.Get, got.Get}, {"put", about.Requests.Put, got.Put}, {"delete", about.Requests.Delete, got.Delete}} {
			if 2*x.about < x.got || 2*x.about > 3*x.got {
				t.Errorf("%q: %d requests to %s, about %d were expected", conf, x.got, x.kind, x.about)
			}
		}
		w.Now = w.Now.AddDate(0, 0, 30)
	}
}

// Prices of requests and storage are those of backup_prices.
func TestDryRunPrices(t *testing.T) {
	w := massDeletion(t)
	const conf = "backup_retention: 10d\nbackup_tripwire: no\n"
	if out, err := toolWith(t, w, conf, "compact", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 30)
	if out, err := toolWith(t, w, conf, "compact", "-n", "-A"); err != nil || strings.Contains(out, "EUR") || !strings.Contains(out, " delete\nstorage: about ") {
		t.Errorf("no prices are known: %v: %s", err, out)
	}
	out, err := toolWith(t, w, conf+"backup_prices: EUR storage=1000000 put=1000\n", "compact", "-n", "-A")
	if err != nil || !strings.Contains(out, " delete, ") || strings.Count(out, " EUR") != 2 || !strings.Contains(out, " EUR a month; 1 checkpoint written\n") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = toolWith(t, w, conf+"backup_prices: EUR storage=1000000 put=1000\n", "compact", "-n", "--ndjson", "-A")
	if err != nil || !strings.Contains(out, `{"command":"estimate","requests":{"get":`) || !strings.Contains(out, `"currency":"EUR","price":`) {
		t.Errorf("as JSON: %v: %s", err, out)
	}
	var c *cli.ConfigError
	if out, err = toolWith(t, w, conf+"backup_prices: EUR storage=cheap\n", "compact", "-n", "-A"); !errors.As(err, &c) || out != "" {
		t.Errorf("a wrong price: %v: %s", err, out)
	}
}
