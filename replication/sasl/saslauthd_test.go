package sasl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saslauthd is a fake that passes each question to answer and writes its result.
func saslauthd(t *testing.T, answer func(parts [4]string) []byte) *Saslauthd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mux")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var parts [4]string
				for i := range parts {
					var n uint16
					if binary.Read(conn, binary.BigEndian, &n) != nil {
						return
					}
					b := make([]byte, n)
					if _, err := io.ReadFull(conn, b); err != nil {
						return
					}
					parts[i] = string(b)
				}
				if reply := answer(parts); reply != nil {
					_, _ = conn.Write(reply)
				} else {
					_, _ = io.Copy(io.Discard, conn) // silent until the other side gives up
				}
			}()
		}
	}()
	return &Saslauthd{Path: path, Timeout: 5 * time.Second}
}

func reply(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func TestSaslauthd(t *testing.T) {
	asked := make(chan [4]string, 1)
	s := saslauthd(t, func(parts [4]string) []byte {
		asked <- parts
		if parts[1] == "pw" {
			return reply("OK")
		}
		return reply("NO authentication failed")
	})
	for _, tt := range []struct {
		user, password string
		question       [4]string
		want           bool
	}{
		{"anne", "pw", [4]string{"anne", "pw", "csync", ""}, true},
		{"anne@example.com", "pw", [4]string{"anne", "pw", "csync", "example.com"}, true},
		{"a@b@c", "no", [4]string{"a@b", "no", "csync", "c"}, false},
	} {
		ok, err := s.CheckPassword(t.Context(), tt.user, tt.password)
		if question := <-asked; ok != tt.want || err != nil || question != tt.question {
			t.Errorf("%s: %v, %v, asked %q", tt.user, ok, err, question)
		}
	}
	if _, err := s.CheckPassword(t.Context(), "anne", strings.Repeat("x", 65536)); err == nil || strings.Contains(err.Error(), "xxx") {
		t.Errorf("long password: %.80v", err)
	}
	// Through the mechanism.
	a := newAuth(t, Options{AllowPlaintext: true, Passwords: []PasswordChecker{s}, Admins: Admins{Words: []string{"anne"}}})
	x := start(t, a, "PLAIN", Layer{})
	if err := talk(t, x, []byte("\x00anne\x00pw")); err != nil || !x.Identity().Admin {
		t.Errorf("%+v %v", x.Identity(), err)
	}
}

func TestSaslauthdFaults(t *testing.T) {
	for name, answer := range map[string][]byte{
		"closed":    {},
		"half":      {0},
		"too short": reply("O"),
		"too long":  {0xff, 0xff, 'O', 'K'},
		"cut":       {0, 9, 'O', 'K'},
	} {
		s := saslauthd(t, func([4]string) []byte { return answer })
		if ok, err := s.CheckPassword(t.Context(), "anne", "pw"); ok || err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	s := saslauthd(t, func([4]string) []byte { return nil })
	s.Timeout = 20 * time.Millisecond
	if _, err := s.CheckPassword(t.Context(), "anne", "pw"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	s.Timeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CheckPassword(ctx, "anne", "pw"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	s = &Saslauthd{Path: filepath.Join(t.TempDir(), "none")}
	want := fmt.Sprintf("ask saslauthd at %s: ", s.Path)
	if _, err := s.CheckPassword(t.Context(), "anne", "pw"); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("absent: %v", err)
	}
}
