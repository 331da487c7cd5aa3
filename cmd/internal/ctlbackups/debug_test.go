package ctlbackups

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/control"
)

// daemon answers at the control socket of a world.
func daemon(t *testing.T, w *tooltest.World, answer control.Handler) {
	t.Helper()
	s, err := control.Listen(filepath.Join(w.Dir, "control"), slog.New(slog.DiscardHandler), answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// profile runs ctl_backups debug, and returns its raw standard output.
func profile(t *testing.T, w *tooltest.World, argv ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, in: strings.NewReader(""), out: &out, direct: &out, err: &out}
	err := c.run(append([]string{"debug", "profile"}, argv...))
	return out.String(), err
}

// A profile is written byte by byte as the daemon sends it.
func TestDebugProfile(t *testing.T) {
	w := tooltest.New(t, "default")
	if _, err := profile(t, w, "cpu"); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	var asked []control.Request
	daemon(t, w, func(_ context.Context, r control.Request, part func(any) error) control.Reply {
		asked = append(asked, r)
		for _, p := range []string{"\x1f\x8b\x00\xff", "\x1b[2J\r\n"} {
			if err := part([]byte(p)); err != nil {
				t.Error(err)
			}
		}
		if r.Kind == "heap" {
			return control.Reply{Error: "too full"}
		}
		return control.Reply{}
	})
	out, err := profile(t, w, "cpu", "--for", "2m")
	if err != nil || out != "\x1f\x8b\x00\xff\x1b[2J\r\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := profile(t, w, "heap"); err == nil || !strings.Contains(err.Error(), "too full") {
		t.Errorf("an error of the daemon: %v", err)
	}
	if len(asked) != 2 || asked[0].Op != "profile" || asked[0].Kind != "cpu" || asked[0].For != 2*time.Minute || asked[1].For != 0 {
		t.Errorf("asked %v", asked)
	}
	var usage *cli.UsageError
	for _, argv := range [][]string{{}, {"cmdline"}, {"cpu", "heap"}, {"cpu", "--for", "-1s"}, {"cpu", "--for", "1h"}, {"heap", "--for", "5s"}, {"-A", "cpu"}} {
		if _, err := profile(t, w, argv...); !errors.As(err, &usage) {
			t.Errorf("%q: %v, want a UsageError", argv, err)
		}
	}
}
