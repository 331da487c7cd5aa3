package okholds

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDirectoryNotSynced: the disk refuses to sync a directory of the bucket. A commit whose entry is
// not durable is not answered OK although it can be read, and the next process does not treat it as
// durable.
func TestDirectoryNotSynced(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install with: make deps")
	}
	s := newSite(t, "dir")
	s.write("imapd.conf", strings.Replace(string(s.read("imapd.conf")), "backup_outage_wait: 20s", "backup_outage_wait: 1s", 1))
	s.own()
	s.mustPush("anne", "", "gen:3:300:1")
	log := filepath.Join(s.repo, "backups/user/anne/log")

	p := s.push("anne", "F", "gen:3:300:2", strace, "-f", "-qq", "-e", "signal=none", "-o", filepath.Join(s.dir, "trace"), "-P", log,
		"-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "--")
	trace := string(s.read("trace"))
	if !strings.Contains(trace, "EIO") {
		t.Fatalf("no fsync of the log failed; the trace:\n%s\nthe push: %+v", trace, p)
	}
	if p.ok() {
		t.Errorf("the push was answered OK; fsyncs of %s:\n%s", log, trace)
	}

	// A process that builds on a linked file syncs it first.
	p = s.push("anne", "G", "gen:3:300:3", strace, "-f", "-qq", "-e", "signal=none", "-y", "-o", filepath.Join(s.dir, "trace2"),
		"-e", "trace=fsync,linkat", "--")
	if !p.ok() {
		t.Fatalf("the push fails although the disk works again: %+v", p)
	}
	trace = string(s.read("trace2"))
	linked := strings.Index(trace, "linkat(")
	synced := strings.Index(trace, "<"+log+">")
	if synced < 0 || linked < 0 || synced > linked && strings.Contains(s.log("anne"), "2") {
		t.Errorf("the log was not synced before the next commit; it has %s:\n%s", s.log("anne"), trace)
	}
	s.mustVerify("anne")
	s.mustPush("anne", "F", "gen:3:300:2")
	s.mustRestore("anne", 9)
}

func (s *site) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// TestDirectoryHangs: a sync that does not return (a stuck disk or file server), and a lock that
// another process never releases, delay a client by backup_outage_wait.
func TestDirectoryHangs(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install with: make deps")
	}
	s := newSite(t, "dir")
	s.mustPush("anne", "", "gen:3:300:1")
	s.write("imapd.conf", strings.Replace(string(s.read("imapd.conf")), "backup_outage_wait: 20s", "backup_outage_wait: 1s", 1))
	s.own()

	const bound = 30 * time.Second // a busy host
	p := s.push("anne", "F", "gen:3:300:2", strace, "-f", "-qq", "-e", "signal=none", "-o", filepath.Join(s.dir, "trace"),
		"-P", filepath.Join(s.repo, "backups/user/anne/log"), "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=4s", "--")
	if p.ok() { // strace ends after the delay, long after the client got its answer
		t.Errorf("fsync hangs: %+v", p)
	}

	lock, err := os.Open(filepath.Join(s.repo, ".objstore/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p = s.push("anne", "G", "gen:25:50000:3") // a pack, which is stored by rename under the lock
	if took := time.Since(start); p.ok() || took > bound {
		t.Errorf("the lock is held: after %v %+v", took, p)
	}
	s.mustPush("bob", "", "gen:3:300:4") // commits need no lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}

	s.mustPush("anne", "F", "gen:3:300:2")
	s.mustPush("anne", "G", "gen:25:50000:3")
	s.mustVerify("anne")
	s.mustRestore("anne", 31)
}
