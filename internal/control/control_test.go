package control_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"backupd/internal/control"
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

func TestCloseCancelsARequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	started := make(chan struct{})
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(ctx context.Context, _ control.Request) control.Reply {
		close(started)
		<-ctx.Done()
		return control.Reply{}
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := control.Ask(context.WithoutCancel(t.Context()), path, control.Request{})
		done <- err
	}()
	<-started
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Fatal("a request that was cut off was answered as done")
	}
}
