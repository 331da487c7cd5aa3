package bucketrestore

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// unpackOlder writes the objects into a directory, with their times.
func unpackOlder(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(older)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600), os.Chtimes(path, h.ModTime, h.ModTime)); err != nil {
			t.Fatal(err)
		}
	}
}

// nights runs ctl_backups compact in later and later nights.
type nights struct {
	t                   *testing.T
	program, conf, days string
	now                 time.Time
	lapse               string
	said                strings.Builder
}

func newNights(t *testing.T, store string, now time.Time) *nights {
	t.Helper()
	dir := t.TempDir()
	n := &nights{t: t, program: filepath.Join(dir, "ctl_backups"), conf: filepath.Join(dir, "imapd.conf"), days: filepath.Join(dir, "days"), now: time.Now()}
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "lapse", "-o", n.program, "./cmd/ctl_backups")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conf := fmt.Sprintf("configdirectory: %s\nbackuppartition-default: %s\nservername: host\nbackup_retention: 8d\nbackup_keep_daily: 2\nbackup_tripwire: no\n", dir, store)
	if err := os.WriteFile(n.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.until(now)
	return n
}

// until sets the clocks to a time.
func (n *nights) until(at time.Time) {
	n.t.Helper()
	time.Sleep(10 * time.Millisecond) // the times of files are less precise
	n.lapse += fmt.Sprintf("%.6f %d\n", float64(time.Now().UnixMicro())/1e6, int64(at.Sub(n.now).Seconds()))
	n.now = at
	if err := os.WriteFile(n.days, []byte(n.lapse), 0o600); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
}

func (n *nights) run(args ...string) {
	n.t.Helper()
	c := exec.CommandContext(n.t.Context(), n.program, append([]string{"-C", n.conf}, args...)...)
	c.Env = append(os.Environ(), "LAPSE_FILE="+n.days)
	out, err := c.CombinedOutput()
	if err != nil {
		n.t.Fatalf("ctl_backups %q: %v\n%s", args, err, out)
	}
	n.said.Write(out)
}

// removed returns the sum of a number in what the runs have printed.
func (n *nights) removed(pattern string) (sum int) {
	for _, m := range regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(n.said.String(), -1) {
		var k int
		_, _ = fmt.Sscan(m[1], &k)
		sum += k
	}
	return sum
}

// A repository that was written before there was any upkeep is compacted night after night. Each
// moment that is kept is unchanged, also for somebody who has only the bucket.
func TestOlderRepository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unpackOlder(t, dir)
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	moments, want := map[uint64]time.Time{}, map[uint64]map[string]string{}
	olderMail(func(_ time.Time, n uint64, _ *box, all []*box) { want[n] = maildir(all...) })
	for n := range want {
		m, err := history.Load(t.Context(), s, "user/anne", history.Moment{Number: n})
		if err != nil {
			t.Fatal(err)
		}
		moments[n] = m.Tip().Time
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	begin := olderBegin.AddDate(0, 0, olderDays)
	ctl := newNights(t, dir, begin)
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	for _, night := range []int{0, 1, 2, 4, 8, 13, 15, 17} {
		ctl.until(begin.AddDate(0, 0, night).Add(3 * time.Hour))
		ctl.run("compact", "-A")
		kept := stillKept(t, s, moments, want, ctl.now)
		if night != 2 && night != 17 {
			continue
		}
		ctl.run("verify", "-A")
		if night == 2 && (len(kept) < 12 || len(kept) == len(want)) {
			t.Errorf("%d of %d moments are kept", len(kept), len(want))
		}
		for n := range kept {
			compare(t, fmt.Sprintf("commit %d", n), p.restore("restore", "user/anne", "", moments[n].UTC().Format(time.RFC3339Nano)), want[n])
		}
		compare(t, "now", p.restore("restore", "user/anne"), want[2*olderDays])
	}
	for what, pattern := range map[string]string{"commits merged": `^merge: (\d+) commits?`, "objects of logs removed": `^retention: .*?(\d+) objects? of the log`,
		"checkpoints removed": `^retention: .*?(\d+) checkpoints?`, "packs removed": `used, (\d+) packs? \([^)]*\) removed`} {
		n := ctl.removed(pattern)
		t.Logf("%s: %d", what, n)
		if n == 0 {
			t.Errorf("%s: none", what)
		}
	}
}

// stillKept compares the moments that still exist. Those of the last eight days must exist.
func stillKept(t *testing.T, s objstore.Store, moments map[uint64]time.Time, want map[uint64]map[string]string, now time.Time) map[uint64]bool {
	t.Helper()
	kept := map[uint64]bool{}
	for n, at := range moments {
		m, err := history.Load(t.Context(), s, "user/anne", history.Moment{Number: n})
		if errors.Is(err, history.ErrNotKept) && at.Before(now.AddDate(0, 0, -8)) {
			continue
		}
		if err != nil {
			t.Fatalf("commit %d of %v, at %v: %v", n, at, now, err)
		}
		kept[n] = true
		compare(t, fmt.Sprintf("commit %d at %v", n, now), filesOf(t, s, m), want[n])
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return kept
}
