package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// asServer makes the test binary run a server on standard input and output, for --exec.
const asServer = "BACKUP_REPLAY_TEST_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "" {
		flag.Bool("update", false, "write the manual page")
		flag.Parse()
		os.Exit(m.Run())
	}
	s := new(fakeserver.Server)
	if err := s.ServeConn(stdio{os.Stdin, os.Stdout}); err != nil {
		os.Exit(1)
	}
}

type stdio struct {
	io.Reader
	io.WriteCloser
}

func startServer(t *testing.T, s *fakeserver.Server) string {
	t.Helper()
	addr := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return addr
}

// replay runs the program and returns its summary, exit status and messages.
func replay(t *testing.T, args ...string) (Summary, int, string) {
	t.Helper()
	var out, messages bytes.Buffer
	status := Main(append([]string{"backup_replay", "--json"}, args...), nil, &out, &messages)
	var s Summary
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
	}
	return s, status, messages.String()
}

func TestSecondRunFindsNothingToDo(t *testing.T) {
	s := &fakeserver.Server{Passwords: map[string]string{"repl": "secret"}, Compress: true}
	addr := startServer(t, s)
	t.Setenv(passwordEnv, "secret")
	args := []string{"--server", addr, "--auth", "repl", "--compress", "--user", "anne", "--users", "3", "--connections", "2", "gen:20:2k:5"}
	sum, status, messages := replay(t, args...)
	if status != 0 {
		t.Fatal(status, messages)
	}
	if r := sum.Rounds[0]; r.Messages != 60 || r.Bytes != 60*2048 || r.Records != 60 || r.Mailboxes != 3 || r.Subs != 3 || r.nothingToDo() {
		t.Errorf("%+v", r)
	}
	if st := s.Stats(); st.Messages != 60 || st.Connections != 2 {
		t.Errorf("%+v", st)
	}
	sum, status, messages = replay(t, args...)
	if status != 0 || !sum.Rounds[0].nothingToDo() {
		t.Errorf("second run: %+v, %v", sum.Rounds[0], messages)
	}
	var text strings.Builder
	if err := sum.writeText(&text); err != nil || !strings.Contains(text.String(), "nothing to do: the server has all 3 mailboxes") {
		t.Errorf("%s, %v", text.String(), err)
	}
}

// The line of a round has both rates. MB are millions of bytes.
func TestRates(t *testing.T) {
	r := newRound()
	r.Messages, r.Bytes = 500, 5_250_000
	r.finish(2500 * time.Millisecond)
	sum := Summary{Server: "x", Users: 1, Connections: 1, Rounds: []*Round{r}}
	var text strings.Builder
	if err := sum.writeText(&text); err != nil || !strings.Contains(text.String(), "; 2.50 s, 200 messages/s, 2.1 MB/s\n") {
		t.Errorf("%s, %v", text.String(), err)
	}
	text.Reset()
	if err := sum.writeJSON(&text); err != nil || !strings.Contains(text.String(), `"messages_per_second": 200,`) || !strings.Contains(text.String(), `"mb_per_second": 2.1,`) {
		t.Errorf("%s, %v", text.String(), err)
	}
}

func TestRoundsThatGrow(t *testing.T) {
	addr := startServer(t, new(fakeserver.Server))
	sum, status, messages := replay(t, "--server", addr, "--rounds", "3", "--grow", "4", "gen:10:500")
	if status != 0 || len(sum.Rounds) != 3 {
		t.Fatal(status, messages)
	}
	for i, want := range []int{10, 4, 4} {
		if r := sum.Rounds[i]; r.Messages != want || r.Records != want {
			t.Errorf("round %d: %+v", i, r)
		}
	}
	if r := sum.Rounds[1]; r.Reserved != 4 || r.Commands["APPLY MESSAGE"].Count != 1 {
		t.Errorf("%+v", r)
	}
}

func TestFiles(t *testing.T) {
	top := t.TempDir()
	for name, body := range map[string]string{"cur/1.a:2,S": "a\n", ".Sent.2024/cur/2.b:2,": "b\n", ".Empty/new/none": ""} {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if body != "" {
			if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	addr := startServer(t, new(fakeserver.Server))
	for _, nothing := range []bool{false, true} {
		sum, status, messages := replay(t, "--server", addr, "--folder", "Old mail/x.y", top)
		if status != 0 {
			t.Fatal(status, messages)
		}
		if r := sum.Rounds[0]; r.Mailboxes != 3 || r.nothingToDo() != nothing {
			t.Errorf("%+v", r)
		}
	}
	if got := mailboxName("a.b@c", []string{"x.y"}, []string{"z"}); got != "c!user.a^b.x^y.z" {
		t.Error(got)
	}
}

func TestNullAndExec(t *testing.T) {
	sum, status, messages := replay(t, "--null", "--users", "2", "--connections", "2", "gen:50:1k")
	if status != 0 || sum.Rounds[0].Messages != 100 {
		t.Errorf("%+v, %d, %s", sum, status, messages)
	}
	t.Setenv(asServer, "1")
	sum, status, messages = replay(t, "--exec", "gen:50:1k", "--", os.Args[0])
	if status != 0 || sum.Rounds[0].Messages != 50 {
		t.Errorf("%+v, %d, %s", sum, status, messages)
	}
}

func TestExitStatus(t *testing.T) {
	addr := startServer(t, &fakeserver.Server{Refuse: func(_, key string) string {
		if key == "MAILBOX" {
			return "NO IMAP_MAILBOX_LOCKED Mailbox locked"
		}
		return ""
	}})
	sum, status, _ := replay(t, "--server", addr, "--users", "2", "gen:1:1")
	if status != exitFailed || len(sum.Rounds[0].Failed) != 2 || !strings.Contains(sum.Rounds[0].Failed[0], "IMAP_MAILBOX_LOCKED") {
		t.Errorf("refused: %d, %+v", status, sum.Rounds)
	}
	for _, c := range []struct {
		status int
		args   []string
	}{
		{exitUsage, nil},
		{exitUsage, []string{"gen:1:1"}},
		{exitUsage, []string{"--null", "--server", "x", "gen:1:1"}},
		{exitUsage, []string{"--null", "gen:1"}},
		{exitUsage, []string{"serve-null"}},
		{exitUsage, []string{"serve-null", "--null", "127.0.0.1:0"}},
		{exitFailed, []string{"serve-null", "/nowhere/at/all"}},
		{exitUsage, []string{"--null", "--users", "0", "gen:1:1"}},
		{exitUsage, []string{"--null", "--nonsense", "gen:1:1"}},
		{exitUsage, []string{"--exec", "gen:1:1"}},
		{exitUsage, []string{"--server", addr, "--auth", "x", "--password-file", filepath.Join(t.TempDir(), "none"), "gen:1:1"}},
		{exitSource, []string{"--null", filepath.Join(t.TempDir(), "none")}},
		{exitFailed, []string{"--server", filepath.Join(t.TempDir(), "none"), "gen:1:1"}},
	} {
		if _, status, messages := replay(t, c.args...); status != c.status {
			t.Errorf("%v: %d, %s", c.args, status, messages)
		}
	}
}
