package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
)

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket", "control")
	if _, err := control.Ask(t.Context(), path, control.Request{}); !errors.Is(err, control.ErrNoDaemon) {
		t.Fatalf("without a daemon: %v, want ErrNoDaemon", err)
	}
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(_ context.Context, r control.Request) control.Reply {
		return control.Reply{Error: r.Op + " " + r.Path}
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := control.Ask(t.Context(), path, control.Request{Op: "reindex", Path: "user/anne"})
	if err != nil || r.Error != "reindex user/anne" {
		t.Fatal(r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Ask(t.Context(), path, control.Request{}); !errors.Is(err, control.ErrNoDaemon) {
		t.Fatalf("after its end: %v, want ErrNoDaemon", err)
	}
}

func TestCloseCancelsRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	started := make(chan struct{})
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(ctx context.Context, _ control.Request) control.Reply {
		close(started)
		<-ctx.Done()
		return control.Reply{Error: ctx.Err().Error()}
	})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		reply control.Reply
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := control.Ask(context.WithoutCancel(t.Context()), path, control.Request{})
		done <- answer{r, err}
	}()
	<-started
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.err != nil || a.reply.Error != context.Canceled.Error() {
		t.Fatalf("an interrupted request was answered %+v, %v", a.reply, a.err)
	}
}

func TestCloseWithSilentTool(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(context.Context, control.Request) control.Reply {
		t.Error("a request was handled")
		return control.Reply{}
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(8 * time.Second): // the deadline of a request is 10 s
		t.Fatal("Close waits for a tool that sends nothing")
	}
}
