package handover

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/internal/master"
)

// fakeReceiver listens for a Member, plays one hand-over until the descriptor has arrived, and then
// calls play.
func fakeReceiver(t *testing.T, play func(u *net.UnixConn)) *Member {
	t.Helper()
	index := filepath.Join(t.TempDir(), "index")
	sock, err := openSocketPath(index + ".sock")
	if err != nil {
		t.Fatal(err)
	}
	l, err := sock.listen()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		u, err := l.AcceptUnix()
		if err != nil {
			t.Error(err)
			return
		}
		defer u.Close()
		var h hello
		if _, err := receive(u, &h); err != nil {
			t.Error(err)
		}
		if err := send(u, welcome{Version: version, Fingerprint: h.Fingerprint}); err != nil {
			t.Error(err)
		}
		if err := send(u, word{wordReady}); err != nil {
			t.Error(err)
		}
		var p pass
		files, err := receive(u, &p)
		if err != nil || len(files) != 1 {
			t.Errorf("%d files, %v", len(files), err)
		}
		closeAll(files)
		play(u)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		sock.close()
	})
	return &Member{sock: sock, cfg: Config{Index: index}}
}

func handOverOne(t *testing.T, r *Member) (near net.Conn, far *master.Conn, err error) {
	t.Helper()
	near, far = connection(t, "one")
	sc, ok := far.Conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", far.Conn)
	}
	_, err = r.handOver(t.Context(), sc, far.Options)
	return near, far, err
}

func TestReceiverDiesWithDescriptor(t *testing.T) {
	r := fakeReceiver(t, func(*net.UnixConn) {})
	near, far, err := handOverOne(t, r)
	if err == nil {
		t.Fatal("no process has the connection")
	}
	// This process has the connection, and the client has not noticed.
	if _, err := far.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, near); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

func TestReceiverDiesAfterAnswer(t *testing.T) {
	r := fakeReceiver(t, func(u *net.UnixConn) {
		if err := send(u, word{wordTaken}); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := handOverOne(t, r); err != nil {
		t.Fatal(err)
	}
}

func TestMissingAnswer(t *testing.T) {
	refused := make(chan error, 1)
	r := fakeReceiver(t, func(u *net.UnixConn) {
		if err := send(u, word{"what?"}); err != nil {
			t.Error(err)
		}
		// The sender shuts down its side; a late "taken" must fail, so that the receiver drops its copy.
		var nothing word
		_, _ = receive(u, &nothing)
		refused <- send(u, word{wordTaken})
	})
	if _, _, err := handOverOne(t, r); err == nil {
		t.Fatal("passed")
	}
	if err := <-refused; err == nil {
		t.Error("a late answer was delivered")
	}
}

func TestInvalidPackets(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	a := mustJoin(t, index, "a")
	for _, packet := range [][]byte{[]byte("garbage"), bytes.Repeat([]byte("x"), maxPacket+1), []byte(`{"version":2,"purpose":"pass"}`)} {
		u, err := a.role.sock.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(packet); err != nil {
			t.Fatal(err)
		}
		var w welcome
		if _, err := receive(u, &w); err == nil && !w.Refused {
			t.Errorf("%.20q was accepted", packet)
		}
		u.Close()
	}
	become(t, a)
}
