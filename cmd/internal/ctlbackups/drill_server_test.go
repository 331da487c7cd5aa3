package ctlbackups

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// drillRecord returns the record of the last drill.
func drillRecord(t *testing.T, w *tooltest.World) *repository.Run {
	t.Helper()
	r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failing returns a Refuse: it answers a command if which accepts its number, from 1.
func failing(command, answer string, which func(n int) bool) func(verb, key string) string {
	var mu sync.Mutex
	n := 0
	return func(verb, key string) string {
		mu.Lock()
		defer mu.Unlock()
		if strings.TrimSpace(verb+" "+key) != command {
			return ""
		}
		if n++; which(n) {
			return answer
		}
		return ""
	}
}

// A drill that could not begin does not hide that the one before it has found damage.
func TestFailedDrillIsKept(t *testing.T) {
	w := two(t)
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	if _, err := tool(t, w, "drill", "-A", "--scratch", t.TempDir()); !errors.Is(err, cli.ErrReported) {
		t.Fatal(err)
	}
	before := drillRecord(t, w)
	s, addr, conf := intoServer(t)
	s.Passwords["repl"] = "other"
	for range 2 {
		if out, err := toolWith(t, w, conf, "drill", "--to", addr); err == nil || !strings.Contains(err.Error(), "cannot restore to") {
			t.Fatalf("%v\n%s", err, out)
		}
		r := drillRecord(t, w)
		if r.Result != repository.RunFailed || r.Failed != before.Failed || !r.Ended.Equal(before.Ended) || r.Server != "" ||
			strings.Count(r.Error, later) != 1 || !strings.Contains(r.Error, "cannot restore to "+addr) {
			t.Errorf("%+v", r)
		}
	}
	status, _ := toolWith(t, w, conf, "status")
	if !strings.Contains(status, "could not restore everything of 1 backup of 2; a later drill, at ") {
		t.Error(status)
	}
	s.Passwords["repl"] = "secret"
	if out, err := toolWith(t, w, conf, "drill", "--to", addr, "-A"); !errors.Is(err, cli.ErrReported) {
		t.Errorf("%v\n%s", err, out)
	}
	if r := drillRecord(t, w); r.Result != repository.RunFailed || r.Server != addr || r.Error != "" {
		t.Errorf("%+v", r)
	}
}

// The server fails at the second backup, which is no finding about that.
func TestServerFailsDuringDrill(t *testing.T) {
	w := two(t)
	s, addr, conf := intoServer(t)
	s.Refuse = failing("RESTORE MAILBOX", "NO Unknown error", func(n int) bool { return n > 1 })
	out, err := toolWith(t, w, conf, "drill", "--to", addr, "-A")
	if !errors.Is(err, cli.ErrReported) || strings.Count(out, ": ok: 9 messages") != 1 || strings.Count(out, ": not compared\n") != 1 ||
		!strings.Contains(out, "0 failed, 1 not compared because of "+addr) {
		t.Errorf("%v\n%s", err, out)
	}
	if r := drillRecord(t, w); r.Result != repository.RunIncomplete || r.Backups != 1 || r.Failed != 0 || !strings.Contains(r.Error, "Unknown error") {
		t.Errorf("%+v", r)
	}
	status, _ := toolWith(t, w, conf, "status")
	if !strings.Contains(status, "could not use the server "+addr) || strings.Contains(status, "could not restore everything") {
		t.Error(status)
	}
}

// Damage is recorded, although the server fails at another backup, or the drill ends there.
func TestDamageIsRecordedBesideFaults(t *testing.T) {
	w := two(t)
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	s, addr, conf := intoServer(t)
	s.Refuse = failing("RESTORE MAILBOX", "NO Unknown error", func(n int) bool { return n == 1 })
	for _, argv := range [][]string{{"drill", "--scratch", t.TempDir(), "-A", "-S"}, {"drill", "--to", addr, "-A"}} {
		out, err := toolWith(t, w, conf, argv...)
		if r := drillRecord(t, w); err == nil || r.Result != repository.RunFailed || r.Failed != 1 {
			t.Errorf("%v: %v, %+v\n%s", argv, err, r, out)
		}
	}
}

// A backup is equal, and the server does not remove the mail of the drill: that is another finding.
func TestMailIsLeft(t *testing.T) {
	w := two(t)
	s, addr, conf := intoServer(t)
	s.Refuse = failing("APPLY UNUSER", "NO Unknown error", func(n int) bool { return true })
	out, err := toolWith(t, w, conf, "drill", "--to", addr, "--users", "1")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, ": ok: 9 messages") || !strings.Contains(out, "the user backup-drill is left on "+addr) {
		t.Errorf("%v\n%s", err, out)
	}
	if r := drillRecord(t, w); r.Result != repository.RunIncomplete || r.Failed != 0 || !strings.Contains(r.Error, "is left on") {
		t.Errorf("%+v", r)
	}
}

// An interruption is no fault of the server. What the drill cannot remove is printed nevertheless.
func TestInterruptedDrillIntoServer(t *testing.T) {
	for _, left := range []bool{false, true} {
		w := two(t)
		s, addr, conf := intoServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		s.Refuse = func(verb, key string) string {
			if verb == "APPLY" && key == "MAILBOX" {
				cancel()
			}
			if key == "UNUSER" && left {
				return "NO Unknown error"
			}
			return ""
		}
		out, err := toolIn(ctx, w, conf, "drill", "--to", addr, "-A")
		if !errors.Is(err, context.Canceled) || strings.Contains(out, "the user backup-drill is left on "+addr) != left {
			t.Errorf("%v\n%s", err, out)
		}
		status, _ := toolWith(t, w, conf, "status")
		if strings.Contains(status, "could not use the server") != left || strings.Contains(status, "context canceled") {
			t.Error(status)
		}
	}
}
