package backupd

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication"
	syncclient "github.com/cyrusbackup/backupd/replication/client"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// more is the change of a metric that increases by an unknown amount.
var more = math.Inf(1)

// watcher compares metrics before and after events.
type watcher struct {
	*metered
	before map[string]float64
	moved  map[string]bool // names of metrics
}

func (m *metered) watch() *watcher { return &watcher{m, m.values(), map[string]bool{}} }

// changed checks how metrics have changed since the last call.
func (w *watcher) changed(event string, want map[string]float64) {
	w.t.Helper()
	after := w.values()
	for series, by := range want {
		name, _, _ := strings.Cut(series, "{")
		w.moved[name] = true
		if got := after[series] - w.before[series]; got != by && (by != more || got <= 0) {
			w.t.Errorf("%s: %s was %v, and is %v; want %+v", event, series, w.before[series], after[series], by)
		}
	}
	w.before = after
}

// Each metric moves when its event happens. The last part fails for a metric that nothing here moves.
func TestMetricsMove(t *testing.T) {
	moved := map[string]bool{}
	for _, part := range []func(*testing.T) map[string]bool{clientsMove, mailMoves, stateMoves, troubleMoves, storesMove, upkeepMoves} {
		for name := range part(t) {
			moved[name] = true
		}
	}
	for _, name := range []string{
		"build_info", "memory_limit_bytes", "resident_memory_bytes", "index_reserve_bytes", // constant: TestConstantMetrics
		"running",                                           // TestMetricsFile
		"index_open", "index_set_aside", "index_size_bytes", // metrics.TestLocalIndex
		"partition_size_bytes", "partition_created_timestamp_seconds", "index_free_bytes", "partition_free_bytes", // of the disk: TestConstantMetrics
		"store_requests_in_flight",                                     // objstore/observe has the tests of its hooks
		"store_clock_offset_seconds", "backups_read_timestamp_seconds", // TestConstantMetrics
	} {
		moved[name] = true
	}
	all, err := metrics.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if !moved[strings.TrimPrefix(d.Name, metrics.Prefix)] {
			t.Errorf("%s: no event moves it here", d.Name)
		}
	}
}

func clientsMove(t *testing.T) map[string]bool {
	passwords := filepath.Join(t.TempDir(), "passwords")
	for _, user := range []string{"repl", "anne"} {
		if err := sasl.SetPassword(passwords, user, "x"); err != nil {
			t.Fatal(err)
		}
	}
	m := newMetered(t, "backup_credentials_path: "+passwords, "failedloginpause: 0")
	w := m.watch()
	tcp := replication.ConnOptions{Service: "backupd", Addr: "[192.0.2.1]"}
	c, err := m.connect(syncclient.Options{User: "repl", Password: "x", Mech: "PLAIN"}, tcp)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Noop(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.changed("login", map[string]float64{
		"connections": 1, "connections_total": 1, "received_bytes_total": more, "sent_bytes_total": more,
		`logins_total{mechanism="PLAIN",result="ok"}`:             1,
		`commands_total{command="AUTHENTICATE",result="ok"}`:      1,
		`commands_total{command="NOOP",result="ok"}`:              1,
		`logins_total{mechanism="PLAIN",result="not_admin"}`:      0,
		`logins_total{mechanism="PLAIN",result="refused"}`:        0,
		`commands_total{command="AUTHENTICATE",result="refused"}`: 0,
	})
	if err := c.Exit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.connect(syncclient.Options{User: "anne", Password: "x", Mech: "PLAIN"}, tcp); err != nil {
		t.Fatal(err)
	}
	if _, err := m.connect(syncclient.Options{User: "repl", Password: "y", Mech: "PLAIN"}, tcp); err == nil {
		t.Fatal("a login with a wrong password")
	}
	w.changed("a user who is no admin, and a wrong password", map[string]float64{
		`logins_total{mechanism="PLAIN",result="not_admin"}`: 1, `logins_total{mechanism="PLAIN",result="refused"}`: 1, `commands_total{command="AUTHENTICATE",result="no"}`: 1,
	})
	s, err := m.status()
	if err != nil {
		t.Fatal(err)
	}
	if l := s.Daemon.Logins; l.OK != 1 || l.Failed != 2 || l.Recent != 2 || l.Last == nil || l.Last.User != "repl" || l.Last.Host != "[192.0.2.1]" || l.Last.Result != replication.LoginRefused {
		t.Errorf("logins %+v, the last one %+v", l, l.Last)
	}
	return w.moved
}

func mailMoves(t *testing.T) map[string]bool {
	m := newMetered(t)
	w := m.watch()
	inbox := newBox("user.anne")
	inbox.deliver(1, 2<<20) // too large for a commit
	size := float64(inbox.records[0].Size)
	m.mustSync("anne", inbox)
	w.changed("a new user", map[string]float64{
		"received_messages_total": 1, "received_message_bytes_total": size,
		`committed_messages_total{body="stored",partition="default"}`:      1,
		`committed_message_bytes_total{body="stored",partition="default"}`: size,
		`commits_total{partition="default"}`:                               more,
		`commit_bytes_total{partition="default"}`:                          more,
		`written_packs_total{partition="default"}`:                         1,
		`written_pack_bytes_total{partition="default"}`:                    more,
		`commands_total{command="APPLY MAILBOX",result="ok"}`:              1,
		`commands_total{command="GET USER",result="ok"}`:                   1,
		`backups{partition="default"}`:                                     1,
		`contact_age_seconds{partition="default"}`:                         1,
		`commit_age_seconds{partition="default"}`:                          1,
		"mail_servers": 1,
		`mail_server_backups{mail_server="cyrus [192.0.2.1]"}`:                        1,
		`mail_server_last_contact_timestamp_seconds{mail_server="cyrus [192.0.2.1]"}`: more,
		`store_bytes_total{op="put",partition="default"}`:                             more,
	})
	if n := m.meter.Stores.Charged()["default"]; n.Put == 0 || n.Get == 0 {
		t.Errorf("requests %+v", n)
	}
	same := newBox("user.bob")
	same.deliver(1, 2<<20)
	m.mustSync("bob", same)
	w.changed("the same mail for another user", map[string]float64{
		`committed_messages_total{body="deduplicated",partition="default"}`:      1,
		`committed_message_bytes_total{body="deduplicated",partition="default"}`: size,
		`committed_messages_total{body="stored",partition="default"}`:            0,
		`written_packs_total{partition="default"}`:                               0,
	})
	return w.moved
}

func stateMoves(t *testing.T) map[string]bool {
	m := newMetered(t)
	inbox := newBox("user.anne")
	inbox.deliver(1, 100)
	older := *inbox
	older.records = slices.Clone(inbox.records)
	inbox.deliver(2, 100)
	m.mustSync("anne", inbox)
	w := m.watch()
	if err := m.sync("anne", &older); err != nil {
		t.Fatal(err)
	}
	w.changed("the mail server was restored", map[string]float64{
		`resyncs_total{partition="default"}`: 1, `resync_mailboxes{partition="default"}`: 1, `behind_backups{reason="resync"}`: 1,
	})
	m.mustSync("anne", &older)
	w.changed("it has sent all", map[string]float64{
		`resyncs_total{partition="default"}`: 0, `resync_mailboxes{partition="default"}`: -1, `behind_backups{reason="resync"}`: -1,
	})
	lost := newBox("user.bob")
	lost.deliver(3, 100)
	clear(lost.bodies)
	m.mustSync("bob", lost)
	w.changed("a file that the mail server cannot read", map[string]float64{
		`committed_messages_total{body="missing",partition="default"}`: 1, `missing_bodies{partition="default"}`: 1, `behind_backups{reason="missing"}`: 1,
	})
	for f, err := range repository.BrowseAll(t.Context(), m.set.Configs()) {
		if err == nil && f.Path == "user/anne" {
			err = f.PlaceHold(t.Context(), repository.Hold{Kind: repository.HoldPlaced, By: "root", Reason: "a court case"}, time.Now)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m.count()
	w.changed("a hold", map[string]float64{`held_backups{partition="default"}`: 1})
	return w.moved
}

// count counts the backups in the bucket.
func (m *metered) count() {
	m.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		m.set.BeginCensus()
		if at, err := m.set.Counted(); err == nil && !at.Before(began) {
			return
		}
	}
	m.t.Fatal("the backups were not counted")
}

func troubleMoves(t *testing.T) map[string]bool {
	m := newMetered(t)
	inbox := newBox("user.anne")
	inbox.deliver(1, 100)
	m.mustSync("anne", inbox)
	w := m.watch()
	if err := os.Rename(m.bucket, m.bucket+".away"); err != nil {
		t.Fatal(err)
	}
	inbox.deliver(2, 100)
	if err := m.sync("anne", inbox); err == nil {
		t.Fatal("a sync without a bucket")
	}
	w.changed("no bucket", map[string]float64{
		`refusals_total{kind="no-bucket"}`: more, `unavailable_partition{kind="no-bucket",partition="default"}`: 1,
		`partition_reachable{partition="default"}`: -1, `behind_backups{reason="refused"}`: 1,
	})
	if err := os.Rename(m.bucket+".away", m.bucket); err != nil {
		t.Fatal(err)
	}
	m.mustSync("anne", inbox)
	w.changed("the bucket is back", map[string]float64{
		`partition_reachable{partition="default"}`: 1, `behind_backups{reason="refused"}`: -1,
	})
	if err := os.MkdirAll(filepath.Join(m.bucket, "backups/user/dora"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.bucket, "backups/user/dora/backup.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.sync("dora", newBox("user.dora")); err == nil {
		t.Fatal("a sync of a damaged backup")
	}
	w.changed("a damaged backup", map[string]float64{
		`unavailable_backups{kind="damage"}`: 1, `refusals_total{kind="damage"}`: more, `behind_backups{reason="refused"}`: 1, `backups{partition="default"}`: 0,
	})
	m.count()
	w.changed("a count of the backups, where one is damaged", map[string]float64{`behind_backups{reason="refused"}`: 0, `backups{partition="default"}`: 1})
	return w.moved
}

// overloaded is a store that answers 503 once to a request for repository.json, and denies everything else.
func overloaded(t *testing.T) (lines []string) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		if strings.HasSuffix(r.URL.Path, repository.Key) && asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(srv.Close)
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"backup_credentials_file: " + keys, "backuppartition-cold: minio://" + strings.TrimPrefix(srv.URL, "http://") + "/bucket?tls=no&region=us-east-1"}
}

func storesMove(t *testing.T) map[string]bool {
	m := newMetered(t, overloaded(t)...)
	w := &watcher{m, map[string]float64{}, map[string]bool{}}
	w.changed("a store that is overloaded and then denies", map[string]float64{
		`store_requests_total{code="503",op="get",outcome="temporary",partition="cold"}`: 1,
		`store_requests_total{code="403",op="get",outcome="denied",partition="cold"}`:    more,
		`store_retries_total{partition="cold"}`:                                          1,
		`store_request_duration_seconds{op="get",partition="cold"}`:                      more,
		`partition_reachable{partition="cold"}`:                                          0,
		`partition_reachable{partition="default"}`:                                       1,
		`partition_checked_timestamp_seconds{partition="default"}`:                       more,
		`partition_free_bytes{partition="default"}`:                                      more,
		`partition_size_bytes{partition="default"}`:                                      more,
	})
	return w.moved
}

func upkeepMoves(t *testing.T) map[string]bool {
	m := newMetered(t)
	inbox := newBox("user.anne")
	inbox.deliver(1, 100)
	m.mustSync("anne", inbox)
	w := m.watch()
	store := m.set.Partitions()[0].Store()
	begun := time.Now().Add(-time.Hour)
	run := repository.Run{Command: "drill", Begun: begun, Ended: begun.Add(time.Minute), Result: repository.RunFailed, Backups: 5, Failed: 2}
	if err := run.Put(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	totals, err := json.Marshal(collection.Totals{Version: 1, Time: begun, All: collection.Amount{Packs: 9, Bytes: 900},
		Used: collection.Amount{Packs: 6, Bytes: 600}, Condemned: collection.Amount{Packs: 2, Bytes: 200}, Young: collection.Amount{Packs: 1, Bytes: 100}})
	if err == nil {
		err = os.WriteFile(filepath.Join(m.bucket, collection.ResultKey), totals, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := float64(begun.Unix())
	w.changed("a failed drill, and a count of packs", map[string]float64{
		`last_run_timestamp_seconds{command="drill",partition="default"}`:      float64(run.Ended.Unix()),
		`last_run_duration_seconds{command="drill",partition="default"}`:       60,
		`last_run_backups{command="drill",partition="default"}`:                5,
		`last_run_failed_backups{command="drill",partition="default"}`:         2,
		`last_run_result{command="drill",partition="default",result="failed"}`: 1,
		`last_run_result{command="drill",partition="default",result="ok"}`:     0,
		`packs{partition="default"}`:                                           9, `pack_bytes{partition="default"}`: 900, `used_pack_bytes{partition="default"}`: 600,
		`condemned_packs{partition="default"}`: 2, `condemned_bytes{partition="default"}`: 200, `reclaimable_bytes{partition="default"}`: 300,
		`packs_counted_timestamp_seconds{partition="default"}`: at,
	})
	run.Result, run.Failed = repository.RunOK, 0
	if err := run.Put(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	w.changed("a drill that works", map[string]float64{
		`last_run_failed_backups{command="drill",partition="default"}`:         -2,
		`last_run_result{command="drill",partition="default",result="failed"}`: -1,
		`last_run_result{command="drill",partition="default",result="ok"}`:     1,
	})
	return w.moved
}

// What does not change while a daemon runs, or what a test cannot change, has the right value.
func TestConstantMetrics(t *testing.T) {
	m := newMetered(t, "backup_memory_limit: 300M", "backup_index_reserve: 1M")
	m.mustSync("anne", newBox("user.anne"))
	v := m.values()
	for series, want := range map[string]float64{
		"running": 1, "memory_limit_bytes": 300 << 20, "index_reserve_bytes": 1 << 20, "index_open": 1, "index_set_aside": 0,
		"index_size_bytes": more, "index_free_bytes": more, "resident_memory_bytes": more, "backups_read_timestamp_seconds": more,
		`partition_free_bytes{partition="default"}`: more, `partition_size_bytes{partition="default"}`: more,
		`partition_created_timestamp_seconds{partition="default"}`: more,
	} {
		if got, there := v[series]; !there || got != want && (want != more || got <= 0) {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if off := v[`store_clock_offset_seconds{partition="default"}`]; math.Abs(off) > 60 {
		t.Errorf("the clock of a directory is %v seconds ahead", off)
	}
	info := 0
	for series, value := range v {
		if strings.HasPrefix(series, "build_info{") && strings.Contains(series, "version=") && value == 1 {
			info++
		}
	}
	if info != 1 {
		t.Errorf("%d build infos", info)
	}
}
