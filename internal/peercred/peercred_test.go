package peercred_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/internal/peercred"
)

func TestGet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, end := range []func() (*net.UnixConn, error){l.AcceptUnix, func() (*net.UnixConn, error) { return c.(*net.UnixConn), nil }} {
		u, err := end()
		if err != nil {
			t.Fatal(err)
		}
		cred, err := peercred.Get(u)
		if err != nil || int(cred.Uid) != os.Geteuid() || int(cred.Pid) != os.Getpid() {
			t.Errorf("%+v, %v; this is process %d of user %d", cred, err, os.Getpid(), os.Geteuid())
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := peercred.Get(u); err == nil {
			t.Error("a closed socket has peer credentials")
		}
	}
}
