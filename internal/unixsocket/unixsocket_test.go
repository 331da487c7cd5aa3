package unixsocket

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for range 2 { // without a file, and with the socket of a killed process
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

func TestListenKeepsOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "mailboxes.db"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(path); err == nil {
			t.Errorf("%s: no error", path)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}
