package backupd

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/version"
)

const (
	// smallDisk contains the directory of a small disk in the process that uses it.
	smallDisk = "BACKUPD_TEST_DISK"
	// That process is alone in its network, so nobody else uses these addresses.
	daemonAddress, prometheusAddress = "127.0.0.1:9187", "127.0.0.1:9090"
	// alertTime limits the wait for each change: seconds, on a machine that does nothing else.
	alertTime = 2 * time.Minute
)

// Five alerts fire and clear in a Prometheus that reads the metrics of a daemon over HTTP: with the
// expressions of docs/monitoring/alerts.yml, and without their waits.
func TestAlerts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Prometheus")
	}
	disk := os.Getenv(smallDisk)
	if disk == "" {
		onSmallDisk(t)
		return
	}
	m := newMetered(t, "backup_metrics_listen: "+daemonAddress, "backup_index_path: "+filepath.Join(disk, "index"), "backup_index_reserve: 32M")
	p := startPrometheus(t, m)
	inbox := newBox("user.anne")
	inbox.deliver(1, 100)
	m.mustSync("anne", inbox)
	p.await("at first")

	away := m.bucket + ".away"
	must(t, os.Rename(m.bucket, away))
	p.await("without a bucket", "BackupBucketUnreachable")
	must(t, os.Rename(away, m.bucket))
	p.await("with the bucket")

	broken := filepath.Join(m.bucket, "backups/user/dora/backup.json")
	must(t, os.MkdirAll(filepath.Dir(broken), 0o700))
	must(t, os.WriteFile(broken, []byte("{"), 0o600))
	if err := m.sync("dora", newBox("user.dora")); err == nil {
		t.Error("a damaged backup takes mail")
	}
	p.await("a user refused", "BackupUserRefused")
	must(t, os.RemoveAll(filepath.Dir(broken)))
	m.mustSync("dora", newBox("user.dora"))
	p.await("the user accepted")

	empty := fillDisk(t, disk)
	p.await("a disk nearly full", "BackupIndexDiskNearlyFull")
	empty()
	p.await("a disk with space")

	m.silent(48 * time.Hour)
	p.await("a mail server that was silent for two days", "BackupMailServerStale")
	m.mustSync("anne", inbox)
	p.await("the mail server back")

	commit, sound := m.damageCommit("anne")
	m.verify(true)
	p.await("verify has found a damaged commit", "BackupDamaged")
	must(t, os.WriteFile(commit, sound, 0o600))
	m.verify(false)
	p.await("verify after the repair")
}

// damageCommit changes a byte of the first commit of a user, and returns its file with the former bytes.
func (m *metered) damageCommit(user string) (file string, sound []byte) {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.bucket, "backups/user", user, "log/*"))
	must(m.t, err)
	if len(files) == 0 {
		m.t.Fatalf("%s has no commit", user)
	}
	sound, err = os.ReadFile(files[0])
	must(m.t, err)
	broken := slices.Clone(sound)
	broken[len(broken)/2] ^= 0x40
	must(m.t, os.WriteFile(files[0], broken, 0o600))
	return files[0], sound
}

// verify runs ctl_backups verify -A, which records its result in the bucket.
func (m *metered) verify(damaged bool) {
	m.t.Helper()
	dir := m.t.TempDir()
	tool, conf := filepath.Join(dir, "ctl_backups"), filepath.Join(dir, "imapd.conf")
	out, err := exec.CommandContext(m.t.Context(), "go", "build", "-o", tool, "github.com/cyrusbackup/backupd/cmd/ctl_backups").CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	must(m.t, os.WriteFile(conf, []byte("configdirectory: "+dir+"\nservername: backup1\nbackuppartition-default: "+m.bucket+"\n"), 0o600))
	out, err = exec.CommandContext(m.t.Context(), tool, "-C", conf, "verify", "-A").CombinedOutput() //nolint:gosec // a program of the test
	if (err != nil) != damaged {
		m.t.Fatalf("verify: %v\n%s", err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onSmallDisk runs the test again in a process with its own disk and network.
func onSmallDisk(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "sh", "-c", `ip link set lo up && mount -t tmpfs -o size=192M none "$0" && exec "$@"`,
		dir, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// fillDisk leaves 48 MiB of the disk: more than the reserve of the index, and less than twice the reserve.
func fillDisk(t *testing.T, dir string) (empty func()) {
	t.Helper()
	var of unix.Statfs_t
	must(t, unix.Statfs(dir, &of))
	f, err := os.Create(filepath.Join(dir, "filler"))
	must(t, err)
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, int64(of.Bavail)*of.Bsize-48<<20))
	must(t, f.Close())
	return func() { must(t, os.Remove(f.Name())) }
}

// silent makes all mail servers silent for a time, in the index.
func (m *metered) silent(d time.Duration) {
	m.t.Helper()
	must(m.t, m.set.FlushContacts())
	then := time.Now().Add(-d)
	must(m.t, m.index.UpdateLong(func(t *index.Txn) error {
		server, err := json.Marshal(map[string]any{"last": then})
		if err != nil {
			return err
		}
		return t.Set(index.ServerKey("cyrus [192.0.2.1]"), server)
	}))
}

// prom is a Prometheus with the alerts of the project.
type prom struct{ m *metered }

var waits = regexp.MustCompile(`(?m)^ +for: \w+\n`)

// startPrometheus starts a Prometheus for the metrics of m.
func startPrometheus(t *testing.T, m *metered) *prom {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile("../../../docs/monitoring/alerts.yml")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "alerts.yml"), waits.ReplaceAll(rules, nil), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [alerts.yml]
scrape_configs: [{job_name: cyrus-backupd, static_configs: [{targets: ["`+daemonAddress+`"]}]}]
`), 0o600))
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), //nolint:gosec // a directory of the test
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAddress)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("prometheus: %s", b)
		}
		log.Close()
	})
	return &prom{m}
}

// five are the alerts of the test. Others may fire meanwhile.
var five = []string{"BackupBucketUnreachable", "BackupUserRefused", "BackupIndexDiskNearlyFull", "BackupMailServerStale", "BackupDamaged"}

// await waits until exactly these of the five alerts fire.
func (p *prom) await(when string, want ...string) {
	p.m.t.Helper()
	deadline := time.Now().Add(alertTime)
	for {
		must(p.m.t, p.m.meter.Refresh(p.m.t.Context()))
		is, err := p.firing()
		if err == nil && slices.Equal(is, want) {
			return
		}
		if time.Now().After(deadline) {
			p.m.t.Fatalf("%s: alerts %v, want %v; %v", when, is, want, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// firing returns those of the five alerts that fire, once the metrics of the daemon were read.
func (p *prom) firing() ([]string, error) {
	if n, err := p.ask(`count(cyrus_backupd_build_info{version="` + version.Number() + `"})`); err != nil || n == nil {
		return nil, fmt.Errorf("no metrics yet: %w", err)
	}
	out, err := p.ask(`ALERTS{alertstate="firing"}`)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, labels := range out {
		if slices.Contains(five, labels["alertname"]) {
			names[labels["alertname"]] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// ask returns the labels of the results of a query.
func (p *prom) ask(query string) (out []map[string]string, err error) {
	r, err := http.Get("http://" + prometheusAddress + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var answer struct {
		Data struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return nil, err
	}
	for _, x := range answer.Data.Result {
		out = append(out, x.Metric)
	}
	return out, nil
}
