package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/master"
)

const limit = 20 * time.Second

// member acts as one process of a group.
type member struct {
	role    *Member
	process *master.Process
	end     context.CancelFunc
	ended   chan int
}

// join creates a member whose sessions greet with its name.
func join(t *testing.T, index, name, fingerprint string) (*member, error) {
	t.Helper()
	m := &member{ended: make(chan int, 1)}
	m.process = master.New(master.Config{}, master.Limits{DrainTimeout: limit})
	ctx, cancel := context.WithCancel(t.Context())
	m.end = cancel
	role, err := Join(ctx, Config{
		Index: index, Fingerprint: fingerprint, Reserve: m.process.Reserve,
		Conflict: func(err error) { t.Errorf("%s: %v", name, err) },
	})
	if err != nil {
		cancel()
		return nil, err
	}
	m.role = role
	go func() {
		m.ended <- m.process.Run(ctx, master.Callbacks{
			Retire: role.Retire,
			Serve:  func(_ context.Context, c *master.Conn) { fmt.Fprintf(c, "%s serves %s\n", name, c.Service) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := role.Release(); err != nil {
			t.Error(err)
		}
	})
	return m, nil
}

func mustJoin(t *testing.T, index, name string) *member {
	t.Helper()
	m, err := join(t, index, name, "same")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func become(t *testing.T, m *member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := m.role.Become(ctx); err != nil {
		t.Fatal(err)
	}
}

// connection is a TCP connection: the client's end and the accepted one.
func connection(t *testing.T, service string) (net.Conn, *master.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if err := near.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, &master.Conn{Conn: far, Options: master.Options{Service: service}}
}

func read(t *testing.T, c net.Conn) string {
	t.Helper()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestPassFollowsReceiver(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	a := mustJoin(t, index, "a")
	become(t, a)
	b := mustJoin(t, index, "b")
	near, far := connection(t, "one")
	if !b.role.Pass(t.Context(), far) {
		t.Fatal("not passed")
	}
	if got := read(t, near); got != "a serves one\n" {
		t.Errorf("got %q", got)
	}
	_, own := connection(t, "two")
	if a.role.Pass(t.Context(), own) {
		t.Error("the owner passed a connection on")
	}
	a.end()
	<-a.ended
	for deadline := time.After(limit); ; {
		kept, becomes := b.role.kept()
		if kept {
			break
		}
		select {
		case <-becomes:
		case <-deadline:
			t.Fatal("no process replaced the receiver")
		}
	}
	c := mustJoin(t, index, "c") // passes to b, which has no index yet
	near, far = connection(t, "three")
	if !c.role.Pass(t.Context(), far) {
		t.Fatal("not passed")
	}
	if got := read(t, near); got != "b serves three\n" {
		t.Errorf("got %q", got)
	}
	select {
	case <-b.role.Owned():
		t.Fatal("two processes have the index")
	default:
	}
	if err := a.role.Release(); err != nil {
		t.Fatal(err)
	}
	become(t, b)
}

func TestDifferentSettingsAreRefused(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	become(t, mustJoin(t, index, "a"))
	_, err := join(t, index, "b", "other")
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("got %v", err)
	}
	for _, words := range []string{index, "same", "other", fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q does not contain %q", err, words)
		}
	}
}

func TestRetireBeforeIndexIsFree(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	a := mustJoin(t, index, "a")
	become(t, a)
	a.role.Retire()
	b := mustJoin(t, index, "b")
	waited := make(chan error, 1)
	go func() { waited <- b.role.Become(context.Background()) }()
	b.role.Retire()
	if err := <-waited; !errors.Is(err, ErrRetired) {
		t.Errorf("got %v", err)
	}
	if err := a.role.Release(); err != nil {
		t.Fatal(err)
	}
	become(t, mustJoin(t, index, "c"))
}

func TestDeepIndexDirectory(t *testing.T) {
	index := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40), "index")
	a := mustJoin(t, index, "a")
	become(t, a)
	b := mustJoin(t, index, "b")
	near, far := connection(t, "one")
	if !b.role.Pass(t.Context(), far) {
		t.Fatal("not passed")
	}
	if got := read(t, near); got != "a serves one\n" {
		t.Errorf("got %q", got)
	}
}

func TestSocketIsPrivateAndRemoved(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	a := mustJoin(t, index, "a")
	fi, err := os.Stat(index + ".sock")
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	a.role.Retire()
	if _, err := os.Stat(index + ".sock"); !os.IsNotExist(err) {
		t.Errorf("not removed: %v", err)
	}
}

func TestParentIsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := join(t, filepath.Join(file, "index"), "a", "same"); err == nil {
		t.Error("joined")
	}
}
