package master

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

type failing struct{ calls int }

func (f *failing) Write([]byte) (int, error) { f.calls++; return 0, syscall.EPIPE }

func TestStatusKeepsOrder(t *testing.T) {
	var b bytes.Buffer
	s := NewStatus(&b, 6848)
	s.Connection()
	s.Unavailable()
	s.Unavailable()
	s.Connection()
	if got, want := fmt.Sprintf("% x", b.Bytes()), "04 00 00 00 c0 1a 00 00 02 00 00 00 c0 1a 00 00"; got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
}

func TestStatusWithoutMaster(t *testing.T) {
	var none *Status
	none.Connection()
	none.Unavailable()
	gone := &failing{}
	s := NewStatus(gone, 1)
	s.Connection()
	s.Connection()
	if gone.calls != 1 {
		t.Errorf("%d writes to a master that has ended", gone.calls)
	}
}

func TestVerdict(t *testing.T) {
	wrap := func(e error) error { return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", e)} }
	for err, want := range map[error]acceptVerdict{
		wrap(syscall.ECONNABORTED):   acceptRetry,
		wrap(syscall.EPROTO):         acceptRetry,
		wrap(syscall.ENONET):         acceptRetry,
		wrap(syscall.EMFILE):         acceptWait,
		wrap(syscall.EINVAL):         acceptRemoved,
		wrap(syscall.EBADF):          acceptBroken,
		wrap(net.ErrClosed):          acceptStop,
		wrap(os.ErrDeadlineExceeded): acceptStop,
		errors.New("odd"):            acceptBroken,
	} {
		if got := verdict(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestShutdownMessage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "msg"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, "msg", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want string, down bool) {
		t.Helper()
		if got, ok := ShutdownMessage(dir, "backupd"); got != want || ok != down {
			t.Errorf("got %q, %v; want %q, %v", got, ok, want, down)
		}
	}
	is("", false)
	write("shutdown", "")
	is("shutting down", true)
	write("shutdown", " a\tb\r\nc\n")
	is("a b", true)
	write("shutdown.backupd", "ours")
	is("ours", true)
	write("shutdown.backupd", string(bytes.Repeat([]byte("x"), 5000)))
	is(string(bytes.Repeat([]byte("x"), maxShutdownLine)), true)
}

func TestBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if _, err := WatchBinary(path); err == nil {
		t.Fatal("a missing file was watched")
	}
	if err := os.WriteFile(path, []byte("1"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := WatchBinary(path)
	if err != nil || b.Changed() {
		t.Fatalf("%v, changed %v", err, b.Changed())
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if b.Changed() {
		t.Error("a missing file counts as a new one")
	}
	if err := os.WriteFile(path, []byte("1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !b.Changed() {
		t.Error("the new file was not noticed")
	}
	var none *Binary
	if none.Changed() {
		t.Error("an unchanged file counts as new")
	}
}

func TestPeerName(t *testing.T) {
	for addr, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 7}:         "[192.0.2.1]",
		&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 7}:       "[2001:db8::1]",
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}:      "[fe80::1%eth0]",
		&net.UnixAddr{Net: "unix"}:                                  "[unix socket]",
		&net.UnixAddr{Net: "unix", Name: "/run/cyrus/socket/csync"}: "[unix socket]",
	} {
		if got := PeerName(addressed{remote: addr}); got != want {
			t.Errorf("%v: %q, want %q", addr, got, want)
		}
	}
}

type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }
