package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
)

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket", "control")
	if _, err := control.Ask(t.Context(), path, control.Request{}); !errors.Is(err, control.ErrNoDaemon) {
		t.Fatalf("without a daemon: %v, want ErrNoDaemon", err)
	}
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(_ context.Context, r control.Request, _ func(any) error) control.Reply {
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
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(ctx context.Context, _ control.Request, _ func(any) error) control.Reply {
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
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(context.Context, control.Request, func(any) error) control.Reply {
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

func TestAskParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(_ context.Context, r control.Request, part func(any) error) control.Reply {
		for i := range 1000 {
			if err := part(i); err != nil {
				return control.Reply{Error: err.Error()}
			}
		}
		return control.Reply{Error: "no more"}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	r, err := control.AskParts(t.Context(), path, control.Request{Op: "list"}, time.Minute, func(b json.RawMessage) error {
		if string(b) != strconv.Itoa(n) {
			t.Fatalf("part %d is %s", n, b)
		}
		n++
		return nil
	})
	if err != nil || n != 1000 || r.Error != "no more" {
		t.Errorf("%d parts, then %v, %v", n, r, err)
	}
	enough := errors.New("enough")
	if _, err := control.AskParts(t.Context(), path, control.Request{Op: "list"}, time.Minute, func(json.RawMessage) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("an error of the tool: %v", err)
	}
}

// A daemon that sends nothing does not hold a tool for ever.
func TestAskPartsSilence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	s, err := control.Listen(path, slog.New(slog.DiscardHandler), func(ctx context.Context, _ control.Request, _ func(any) error) control.Reply {
		<-ctx.Done()
		return control.Reply{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = control.AskParts(t.Context(), path, control.Request{Op: "list"}, 10*time.Millisecond, func(json.RawMessage) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "sent nothing for 10ms") {
		t.Errorf("%v", err)
	}
}
