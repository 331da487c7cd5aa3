package okholds

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDiskUnderIndex: the disk with the index fills up under a running daemon, while idle and
// during a push. Clients are deferred; the daemon keeps running, and continues when there is room.
// Everything that was answered OK is present.
func TestFullDiskUnderIndex(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	s := newSite(t, "dir", "backup_index_reserve: 32M")
	disk := s.onSmallDisk("state", "size=220m")
	if out, status := s.runWith("secret", "ctl_backups", "-C", s.conf, "passwd", "demo"); status != 0 {
		t.Fatalf("passwd: %d %s", status, out)
	}
	s.daemon()
	s.mustPush("anne", "", "gen:20:3000:1")

	empty := disk.fill(t)
	for _, user := range []string{"anne", "bert"} {
		p := s.push(user, "X", "gen:20:3000:2")
		if p.ok() || !strings.Contains(strings.Join(p.Failed, " "), "NO IMAP_MAILBOX_LOCKED") {
			t.Errorf("%s, on a full disk: %+v", user, p)
		}
	}
	empty()
	s.pushInTime("anne", "X", "gen:20:3000:2")

	for round := range 3 {
		filled := make(chan func(), 1)
		go func() {
			time.Sleep(time.Duration(round) * 30 * time.Millisecond)
			filled <- disk.fill(t)
		}()
		s.push("anne", "Y", "gen:300:3000:3") // with any result
		(<-filled)()
	}
	s.pushInTime("anne", "Y", "gen:300:3000:3")
	s.mustVerify("anne")
	s.mustRestore("anne", 340)
	for _, unwanted := range []string{"backupd-crashes/last", "backup-index.damaged"} {
		if _, err := os.Stat(filepath.Join(s.dir, "state", unwanted)); err == nil {
			t.Errorf("found %s", unwanted)
		}
	}
}

// pushInTime pushes until the daemon accepts: it checks its disk every few seconds.
func (s *site) pushInTime(user, folder, source string) {
	s.t.Helper()
	var p pushed
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if p = s.push(user, folder, source); p.ok() {
			return
		}
	}
	s.t.Fatalf("the push fails although there is room again: %+v", p)
}

// smallDisk is the mount point, as a descriptor, because only one thread and its children see the
// mount.
type smallDisk struct{ fd int }

// onSmallDisk mounts a small disk on a directory of the site, for the goroutine of this test and the
// programs that it starts.
func (s *site) onSmallDisk(name, options string) smallDisk {
	s.t.Helper()
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	check(unix.Unshare(unix.CLONE_NEWNS))
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	path := filepath.Join(s.dir, name)
	check(unix.Mount("none", path, "tmpfs", 0, options))
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(err)
	s.t.Cleanup(func() {
		check(unix.Close(fd))
		check(unix.Unmount(path, unix.MNT_DETACH))
	})
	check(os.Chown(path, nobody, nobody))
	return smallDisk{fd}
}

// fill uses up all space.
func (d smallDisk) fill(t *testing.T) (empty func()) {
	const name = "filler"
	fd, err := unix.Openat(d.fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	for size := int64(0); ; { // the index allocates and frees space in the meantime
		var st unix.Statfs_t
		if err := unix.Fstatfs(d.fd, &st); err != nil {
			t.Error(err)
			break
		}
		free := int64(st.Bavail) * st.Bsize
		if free == 0 {
			break
		}
		if unix.Fallocate(fd, 0, size, free) == nil {
			size += free
		}
	}
	return func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
		if err := unix.Unlinkat(d.fd, name, 0); err != nil {
			t.Error(err)
		}
	}
}
