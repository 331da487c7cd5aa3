package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions"
)

// alone is a collector of one source.
type alone struct {
	catalogue *catalogue
	source    source
}

func (a alone) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range a.catalogue.descs {
		ch <- d
	}
}

func (a alone) Collect(ch chan<- prometheus.Metric) { a.source.collect(ch) }

// want compares the values of a source.
func want(t *testing.T, c *catalogue, s source, text string, names ...string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(alone{c, s}); err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = Prefix + names[i]
	}
	for _, d := range c.all { // the comparison wants them
		text = strings.Replace(text, "@"+strings.TrimPrefix(d.Name, Prefix)+"\n", fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n", d.Name, d.Help, d.Name, d.Type), 1)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text), names...); err != nil {
		t.Error(err)
	}
}

func TestTroubles(t *testing.T) {
	c := new(catalogue)
	s := newTroubles(c, func() []partitions.Trouble {
		return []partitions.Trouble{
			{Backup: "user/anne", Kind: "damage"}, {Backup: "user/anne", Kind: "damage"}, {Backup: "user/bert", Kind: "damage"},
			{Partition: "cold", Kind: "denied"}, {Partition: "cold", Kind: "denied"},
		}
	})
	want(t, c, s, `
@unavailable_backups
cyrus_backupd_unavailable_backups{kind="damage"} 2
cyrus_backupd_unavailable_backups{kind="foreign"} 0
cyrus_backupd_unavailable_backups{kind="internal"} 0
cyrus_backupd_unavailable_backups{kind="locked"} 0
cyrus_backupd_unavailable_backups{kind="moved"} 0
cyrus_backupd_unavailable_backups{kind="sealed"} 0
cyrus_backupd_unavailable_backups{kind="twice"} 0
cyrus_backupd_unavailable_backups{kind="version"} 0
@unavailable_partition
cyrus_backupd_unavailable_partition{kind="denied",partition="cold"} 1
`)
}

func TestLocalIndex(t *testing.T) {
	c := new(catalogue)
	s := newLocalIndex(c, func() index.Status { return index.Status{Free: 7, SetAside: 2, Bytes: 9} }, 128)
	want(t, c, s, `
@index_open
cyrus_backupd_index_open 0
@index_size_bytes
cyrus_backupd_index_size_bytes 9
@index_free_bytes
cyrus_backupd_index_free_bytes 7
@index_reserve_bytes
cyrus_backupd_index_reserve_bytes 128
@index_set_aside
cyrus_backupd_index_set_aside 2
`)
}

// Users have no labels, and a mail server only if it matters.
func TestUsers(t *testing.T) {
	c := new(catalogue)
	b := newBackground(nil, func() time.Time { return time.Unix(5000, 0) })
	defer b.end()
	s := newUsers(c, b, nil)
	p := partitions.PartitionStatus{Name: "p1", Backups: 3, Held: []string{"user/anne"}, MoreHeld: 1, Resync: 4, Missing: 5}
	p.ChangeAges.Counts[2], p.ChangeAges.Counts[12], p.ChangeAges.Sum = 1, 2, 400*24*time.Hour
	status := &partitions.Status{Partitions: []partitions.PartitionStatus{p}, Lacking: map[string]int{partitions.BehindRefused: 6}}
	for i := range mostServers + 50 {
		status.Servers = append(status.Servers, partitions.ServerStatus{Client: fmt.Sprintf("repl [%d]", i), Last: time.Unix(1000, 0), Backups: i})
	}
	status.Servers[mostServers+49].Client = "odd\xff"
	s.status.value, s.status.at, s.status.next = status, time.Unix(5000, 0), time.Now().Add(time.Hour)
	close(s.status.ready)
	want(t, c, s, `
@commit_age_seconds
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="300"} 0
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="900"} 0
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="3600"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="21600"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="43200"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="86400"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="172800"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="259200"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="604800"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="1.2096e+06"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="2.592e+06"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="7.776e+06"} 1
cyrus_backupd_commit_age_seconds_bucket{partition="p1",le="+Inf"} 3
cyrus_backupd_commit_age_seconds_sum{partition="p1"} 3.456e+07
cyrus_backupd_commit_age_seconds_count{partition="p1"} 3
@held_backups
cyrus_backupd_held_backups{partition="p1"} 2
@resync_mailboxes
cyrus_backupd_resync_mailboxes{partition="p1"} 4
@missing_bodies
cyrus_backupd_missing_bodies{partition="p1"} 5
@behind_backups
cyrus_backupd_behind_backups{reason="compare"} 0
cyrus_backupd_behind_backups{reason="missing"} 0
cyrus_backupd_behind_backups{reason="refused"} 6
cyrus_backupd_behind_backups{reason="resync"} 0
@backups_read_timestamp_seconds
cyrus_backupd_backups_read_timestamp_seconds 5000
@mail_servers
cyrus_backupd_mail_servers 250
`, "commit_age_seconds", "held_backups", "resync_mailboxes", "missing_bodies", "behind_backups", "backups_read_timestamp_seconds", "mail_servers")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(alone{c, s})
	if n, err := testutil.GatherAndCount(reg, Prefix+"mail_server_backups"); err != nil || n != mostServers {
		t.Errorf("%d mail servers have metrics, want %d: %v", n, mostServers, err)
	}
}
