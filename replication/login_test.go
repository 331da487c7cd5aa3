package replication_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// logLines returns an option that logs to a buffer, messages only.
func logLines() (*bytes.Buffer, func(*replication.Options)) {
	buf := new(bytes.Buffer)
	h := slog.NewTextHandler(buf, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return buf, func(o *replication.Options) { o.Logger = slog.New(h) }
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBanner(t *testing.T) {
	srv := newServer(t, replicationtest.NewStore(), nil)
	tcp := "[* SASL PLAIN LOGIN * COMPRESS DEFLATE * OK backup.example.com Cyrus backup server 1.0]"
	if got := fmt.Sprint(dial(t, srv, replication.ConnOptions{}).banner); got != tcp {
		t.Errorf("TCP: %s", got)
	}
	unix := "[* OK backup.example.com Cyrus backup server 1.0]"
	if got := fmt.Sprint(dial(t, srv, replication.ConnOptions{Unix: true}).banner); got != unix {
		t.Errorf("UNIX socket: %s", got)
	}
}

// The steps of a login, as in imap/saslserver.c.
func TestAuthenticate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string // "C: …" is sent, "S: …" is expected
	}{
		{"initial response", []string{
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"), "S: OK Success (no protection)", "C: GET USER anne", "S: OK Success"}},
		{"lower case", []string{"C: authenticate plain " + b64("\x00repl\x00secret"), "S: OK Success (no protection)"}},
		{"challenge", []string{
			"C: AUTHENTICATE PLAIN", "S: + ", "C: " + b64("\x00repl\x00secret"), "S: OK Success (no protection)"}},
		{"login", []string{
			"C: AUTHENTICATE LOGIN", "S: + " + b64("Username:"), "C: " + b64("repl"),
			"S: + " + b64("Password:"), "C: " + b64("secret"), "S: OK Success (no protection)"}},
		{"cancel", []string{
			"C: AUTHENTICATE PLAIN", "S: + ", "C: *", "S: BAD Client canceled authentication",
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"), "S: OK Success (no protection)"}},
		{"wrong, then right", []string{
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00wrong"), "S: NO authentication failure",
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"), "S: OK Success (no protection)"}},
		{"empty initial response", []string{"C: AUTHENTICATE PLAIN =", "S: NO bad protocol / cancel"}},
		{"not base64", []string{"C: AUTHENTICATE PLAIN !!!", "S: NO bad protocol / cancel", "C: NOOP", "S: OK Noop completed"}},
		{"long line", []string{
			"C: AUTHENTICATE PLAIN", "S: + ", "C: " + strings.Repeat("A", 40000),
			"S: NO Error reading client response: line too long", "C: NOOP", "S: OK Noop completed"}},
		{"no such mechanism", []string{"C: AUTHENTICATE GSSAPI", "S: NO no mechanism available"}},
		{"extra arguments", []string{"C: AUTHENTICATE PLAIN AAAA AAAA", "S: BAD Unexpected extra arguments to Authenticate"}},
		{"twice", []string{
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"), "S: OK Success (no protection)",
			"C: AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"), "S: BAD Already authenticated"}},
		{"not an admin", []string{
			"C: AUTHENTICATE PLAIN " + b64("\x00guest\x00secret"), "S: OK Success (no protection)",
			"C: GET USER anne", "S: NO Permission denied",
			"C: APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello)", "S: NO Permission denied",
			"C: NOOP", "S: NO Permission denied", "C: RESTART", "S: NO Permission denied",
			"C: NONSENSE", "S: NO Permission denied", "C: EXIT", "S: OK Finished"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
			for _, line := range tt.lines {
				if said, ok := strings.CutPrefix(line, "C: "); ok {
					go func() { _, _ = b.Conn.Write([]byte(said + "\r\n")) }()
					continue
				}
				got, err := b.Line()
				if "S: "+got != line || err != nil {
					t.Fatalf("got %q %v, want %q", got, err, line)
				}
			}
		})
	}
}

// Log lines have the wording that other programs search for. The answer to a failure is
// delayed.
func TestLoginLog(t *testing.T) {
	clock := newClock()
	buf, logged := logLines()
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		logged(o)
		o.Clock, o.FailedLoginPause = clock, 3*time.Second
	})
	b := dial(t, srv, replication.ConnOptions{})
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00wrong"), "NO authentication failure")
	if w := clock.takeWaited(); len(w) != 1 || w[0] != 3*time.Second {
		t.Errorf("waited %v", w)
	}
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00secret"), "OK Success (no protection)")
	b.want("EXIT", "OK Finished")
	<-b.ended
	for _, want := range []string{
		`level=INFO+2 msg="badlogin: client.example.com [192.0.2.1] PLAIN [`,
		`level=INFO+2 msg="login: client.example.com [192.0.2.1] repl PLAIN User logged in"` + "\n",
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("no line %s in:\n%s", want, buf)
		}
	}
	if strings.Contains(buf.String(), "wrong") && strings.Contains(buf.String(), "secret") {
		t.Errorf("a password is in the log:\n%s", buf)
	}
}

// Each failed login of a network within a minute waits longer, whatever connection it uses. A right
// password does not wait, nor does another network.
func TestFailedLoginsOfANetwork(t *testing.T) {
	clock := newClock()
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.Clock, o.FailedLoginPause = clock, 3*time.Second
	})
	try := func(addr, password, want string) time.Duration {
		t.Helper()
		b := dial(t, srv, replication.ConnOptions{Addr: addr})
		b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00"+password), want)
		b.want("EXIT", "OK Finished")
		<-b.ended
		var sum time.Duration
		for _, w := range clock.takeWaited() {
			sum += w
		}
		return sum
	}
	wrong := func(addr string) time.Duration { return try(addr, "wrong", "NO authentication failure") }
	for n := range 12 {
		addr := []string{"client.example.com [2001:db8:1:2::1]", "[2001:db8:1:2:ffff::%d]"}[n%2]
		if strings.Contains(addr, "%") {
			addr = fmt.Sprintf(addr, n)
		}
		if got, want := wrong(addr), min(time.Duration(n+1)*3*time.Second, 30*time.Second); got != want {
			t.Errorf("failure %d from %s waited %s, want %s", n+1, addr, got, want)
		}
	}
	if got := try("[2001:db8:1:2::1]", "secret", "OK Success (no protection)"); got != 0 {
		t.Errorf("a right password waited %s", got)
	}
	for _, addr := range []string{"[2001:db8:1:3::1]", "[192.0.2.1]", "client [192.0.2.2]", "[unix socket]"} {
		if got := wrong(addr); got != 3*time.Second {
			t.Errorf("the first failure from %s waited %s", addr, got)
		}
	}
	if got := wrong("[::ffff:192.0.2.1]"); got != 6*time.Second {
		t.Errorf("the second failure of 192.0.2.1 waited %s", got)
	}
}

// Clients without a login cannot fill the log at the speed of the network.
func TestUnknownCommandsAreSlowedDown(t *testing.T) {
	clock := newClock()
	b := dial(t, newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.Clock = clock }), replication.ConnOptions{})
	for range 4 {
		b.want("FROBNICATE {4+}\r\nEXIT x", "BAD IMAP_PROTOCOL_ERROR Unrecognized command")
	}
	if w := clock.takeWaited(); len(w) != 3 || w[2] != 3*time.Second {
		t.Errorf("waited %v", w)
	}
}

func TestIMAPProbe(t *testing.T) {
	for command, want := range map[string]string{
		"C01 CAPABILITY":     "C01 BAD not IMAP",
		"Q01 LOGOUT":         "Q01 BAD not IMAP",
		"a capability":       "a BAD not IMAP",
		"C01 CAPABILITY now": "C01 BAD not IMAP",
	} {
		b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
		b.want(command, want)
		if _, err := b.Line(); err == nil {
			t.Errorf("%s: not closed", command)
		}
		if err := <-b.ended; err != nil {
			t.Errorf("%s: ServeConn: %v", command, err)
		}
	}
}

func TestOnState(t *testing.T) {
	var states []replication.ConnState
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.OnState = func(s replication.ConnState) { states = append(states, s) }
	})
	b := dial(t, srv, replication.ConnOptions{Service: "backupd2"})
	b.do("AUTHENTICATE PLAIN " + b64("\x00repl\x00secret"))
	b.do("EXIT")
	<-b.ended
	if len(states) != 3 || states[0].User != "" || states[1].User != "repl" || !states[2].Ended || states[0].Service != "backupd2" {
		t.Errorf("%+v", states)
	}
}
