package syslog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// daemon is a log daemon's datagram socket.
func daemon(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

type secret string

func (secret) LogValue() slog.Value { return slog.StringValue("hidden") }

func TestMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn := daemon(t, path)
	h := New(Options{Ident: "cyrus/backupd", Facility: Mail, Level: slog.LevelDebug, Path: path})
	log := slog.New(h)
	tests := []struct {
		log      func()
		priority int
		text     string
	}{
		{func() { log.Debug("d") }, 23, "d"},
		{func() { log.Info("login: a") }, 22, "login: a"},
		{func() { log.Log(t.Context(), LevelNotice, "n") }, 21, "n"},
		{func() { log.Warn("w") }, 20, "w"},
		{func() { log.Error("e", "err", errors.New("put pack: no route")) }, 19, `e err="put pack: no route"`},
		{func() { log.Log(t.Context(), slog.LevelError+4, "c") }, 18, "c"},
		{func() {
			log.Info("m", "user", "anne", "n", 3, "empty", "", "q", `a"b`, "d", time.Second, "ok", true, "nil", nil)
		}, 22,
			`m user=anne n=3 empty="" q="a\"b" d=1s ok=true nil=<nil>`},
		{func() { log.Info("m", "pw", secret("x"), "t", time.Unix(0, 0).UTC()) }, 22, `m pw=hidden t=1970-01-01T00:00:00Z`},
		{func() { log.With("conn", "c1").WithGroup("g").With("a", 1).Info("m", "b", 2, slog.Group("h", "c", 3)) }, 22,
			`m conn=c1 g.a=1 g.b=2 g.h.c=3`},
		{func() { log.Info("two\nlines\x1b[1m \xff \u00e4", "k e=y", "a\nb") }, 22, `two\nlines\x1b[1m ` + "\ufffd" + ` ` + "\u00e4" + ` k_e_y="a\nb"`},
		{func() { log.WithGroup("").Info("m", slog.Attr{}, slog.Group("")) }, 22, `m`},
	}
	for _, tt := range tests {
		tt.log()
		want := fmt.Sprintf(`^<%d>[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d cyrus/backupd\[%d\]: (.*)$`, tt.priority, os.Getpid())
		got := receive(t, conn)
		m := regexp.MustCompile(want).FindStringSubmatch(got)
		if m == nil || m[1] != tt.text {
			t.Errorf("got %q, want %d %q", got, tt.priority, tt.text)
		}
	}
	log.Info(strings.Repeat("\u00e4", maxMessage))
	if got := receive(t, conn); len(got) > maxMessage+100 || !strings.HasSuffix(got, "\u00e4 [...]") {
		t.Errorf("a long message: %d bytes", len(got))
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	log.Info("again")
	if got := receive(t, conn); !strings.HasSuffix(got, "again") {
		t.Errorf("after close: %q", got)
	}
}

func TestLevel(t *testing.T) {
	h := New(Options{})
	if h.Enabled(t.Context(), slog.LevelDebug) || !h.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("default level")
	}
	level := new(slog.LevelVar)
	h = New(Options{Level: level})
	level.Set(slog.LevelDebug)
	if !h.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the level cannot be changed")
	}
}

func TestRestartAndFallback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var fallback bytes.Buffer
	log := slog.New(New(Options{Ident: "x", Path: path, Fallback: &fallback}))
	log.Info("one")
	conn := daemon(t, path)
	log.Info("two")
	receive(t, conn)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	os.Remove(path)
	conn = daemon(t, path)
	log.Info("four")
	if got := receive(t, conn); !strings.HasSuffix(got, "four") {
		t.Errorf("after the restart: %q", got)
	}
	want := fmt.Sprintf("x[%d]: one\nx[%[1]d]: three\n", os.Getpid())
	if fallback.String() != want {
		t.Errorf("fallback %q", fallback.String())
	}
}

func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log := slog.New(New(Options{Ident: "x", Path: path}))
	log.Info("one")
	log.Info("two")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil || strings.Count(string(buf[:n]), "\x00") != 2 {
		t.Errorf("%q %v", buf[:n], err)
	}
}

// A daemon that does not read delays messages by one timeout, then almost not at all. The number of
// lost messages is logged when it reads again.
func TestFullSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn := daemon(t, path)
	h := New(Options{Ident: "x", Path: path, Timeout: 20 * time.Millisecond})
	log := slog.New(h)
	for range 2000 {
		log.Info("m")
		if h.Dropped() == 10 {
			break
		}
	}
	if h.Dropped() != 10 {
		t.Fatalf("%d dropped: the socket was never full", h.Dropped())
	}
	for range 5 {
		receive(t, conn)
	}
	// On a busy host a message may be dropped although there is room.
	for before := uint64(0); before != h.Dropped(); {
		before = h.Dropped()
		log.Info("last")
	}
	want := fmt.Sprintf("messages lost because the log daemon did not read them count=%d", h.Dropped())
	for {
		if got := receive(t, conn); strings.HasSuffix(got, want) {
			break
		}
	}
}

func TestFromConfig(t *testing.T) {
	load := func(text, env string) (Options, error) {
		conf, err := imapconf.Parse("c", "configdirectory: /x\n"+text, "backupd")
		if err != nil {
			t.Fatal(err)
		}
		return FromConfig(conf, "backupd", env)
	}
	tests := []struct {
		text, env, ident string
		facility         Facility
		level            slog.Level
	}{
		{"", "", "backupd", Mail, slog.LevelInfo},
		{"syslog_prefix: cyrus\nsyslog_facility: local6\ndebug: yes\n", "", "cyrus/backupd", 22 << 3, slog.LevelDebug},
		{"syslog_prefix: cyrus\nsyslog_facility: DAEMON\n", "env", "env/backupd", 3 << 3, slog.LevelInfo},
	}
	for _, tt := range tests {
		opt, err := load(tt.text, tt.env)
		if err != nil || opt.Ident != tt.ident || opt.Facility != tt.facility || opt.Level.Level() != tt.level {
			t.Errorf("%q: %+v %v", tt.text, opt, err)
		}
	}
	_, err := load("syslog_facility: kern\n", "")
	if err == nil || !strings.HasPrefix(err.Error(), `c:2: syslog_facility: "kern" is not a facility; allowed: `) {
		t.Error(err)
	}
	if got := Early("backupd", "env"); got.Ident != "env/backupd" || got.Facility != Mail {
		t.Errorf("%+v", got)
	}
}
