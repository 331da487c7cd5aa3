package ctlbackups

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client"
)

// A drill that cannot begin is recorded whatever the reason, so that status does not show an old success.
func TestDrillThatCannotBeginIsRecorded(t *testing.T) {
	_, addr, conf := intoServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for _, test := range []struct {
		to, conf, why string
		locked        bool
	}{
		{addr, conf, "another drill of this host uses " + addr, true},
		{addr, "", "restore_authname (or sync_authname) is not set", false},
		{closed, conf, "connection refused", false},
		{addr, conf + "tls_server_ca_file: /missing\n", "/missing", false},
	} {
		w := two(t)
		if out, err := toolWith(t, w, conf, "drill", "--to", addr, "-A"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		release := func() error { return nil }
		if test.locked {
			if release, err = drill.NewServer(test.to, "b1", nil).Lock(); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := toolWith(t, w, test.conf, "drill", "--to", test.to); err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%v, want %s\n%s", err, test.why, out)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
		if r := drillRecord(t, w); r.Result != repository.RunIncomplete || r.Server != test.to || !strings.Contains(r.Error, test.why) || r.Backups != 0 {
			t.Errorf("%s: %+v", test.why, r)
		}
		status, _ := toolWith(t, w, conf, "status")
		if !strings.Contains(status, "could not use the server "+test.to) || !strings.Contains(status, test.why) {
			t.Error(status)
		}
	}
}

// A server that no longer answers ends the run, because each further backup would wait for it. The record
// of no partition shows success.
func TestServerThatIsGoneEndsTheDrill(t *testing.T) {
	var out bytes.Buffer
	c := &command{out: &out, err: &out, to: "test.example.org", bucket: &cli.Bucket{Partitions: []repository.Config{{Name: "default"}, {Name: "cold"}}}}
	d := &drilling{command: c, record: c.beginRun(repository.RunDrill)}
	backups := func(yield func(*repository.Found, error) bool) {
		for i := range 5 {
			if !yield(&repository.Found{Path: fmt.Sprint("user/u", i), Partition: repository.Config{Name: "default"}}, nil) {
				return
			}
		}
	}
	n := 0
	for f := range d.answered(backups) {
		var err error = &drill.ServerError{Err: fmt.Errorf("GET USER: %w", client.ErrPermission)}
		if n++; n == 2 {
			err = &drill.ServerError{Err: fmt.Errorf("GET USER: %w for 10m0s", client.ErrIdle)}
		}
		if got := d.notCompared(f, drill.Result{}, err); got == nil {
			t.Error("no error")
		}
	}
	if n != 2 || d.faults != 2 || !d.record.unable["default"] || !d.record.unable["cold"] || !strings.Contains(d.record.parts["cold"].Error, "does not answer for 10m0s") {
		t.Errorf("%d backups, %+v\n%s", n, d.record, out.String())
	}
}

// Whoever has run a drill is reminded when it no longer takes place, or does not end.
func TestOldDrill(t *testing.T) {
	w := two(t)
	if out, err := tool(t, w, "drill", "-A", "--scratch", t.TempDir()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ended := w.Now
	w.Now = ended.Add(drillAge - time.Hour)
	if out, _ := tool(t, w, "status"); strings.Contains(out, "no drill has ended") {
		t.Error(out)
	}
	w.Now = ended.Add(drillAge + time.Hour)
	if out, _ := tool(t, w, "status"); !strings.Contains(out, "warning  drills: no drill has ended since "+ended.UTC().Format("2006-01-02 15:04:05 +0000")) {
		t.Error(out)
	}
}

// A partition of which the last drills have drawn no backup is no problem while they take place.
func TestOldDrillOfOnePartition(t *testing.T) {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	part := func(name string, ago time.Duration, result string) statusPartition {
		return statusPartition{Name: name, State: partitionOK, Created: now.Add(-2 * drillAge), Runs: map[string]*repository.Run{
			repository.RunDrill: {Ended: now.Add(-ago), Result: result}, repository.RunVerify: {Ended: now}, repository.RunCompact: {Ended: now},
		}}
	}
	for _, c := range []struct {
		name string
		ago  time.Duration // of the newer drill
		want []string
	}{
		{"one is new", time.Hour, nil},
		{"both are old", drillAge + time.Hour, []string{"no drill has ended since"}},
	} {
		j := judge{r: &statusReport{Partitions: []statusPartition{part("default", c.ago, repository.RunOK), part("cold", 2*drillAge, repository.RunOK)}}, now: now, maxAge: time.Hour}
		j.all(ofDaemon{})
		checkProblems(t, c.name, j.r, c.want)
	}
	j := judge{r: &statusReport{Partitions: []statusPartition{part("default", time.Hour, repository.RunIncomplete)}}, now: now, maxAge: time.Hour}
	j.all(ofDaemon{})
	checkProblems(t, "interrupted", j.r, []string{"was interrupted"})
}

// checkProblems checks that each problem has one of the texts, in their order.
func checkProblems(t *testing.T, name string, r *statusReport, want []string) {
	t.Helper()
	if len(r.Problems) != len(want) {
		t.Fatalf("%s: %+v, want %q", name, r.Problems, want)
	}
	for i, p := range r.Problems {
		if !strings.Contains(p.Text, want[i]) {
			t.Errorf("%s: %+v, want %q", name, p, want[i])
		}
	}
}
