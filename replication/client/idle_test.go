package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// hanging returns a client of a server that executes commands and answers none of verb until hung is
// closed.
func hanging(t *testing.T, verb string, hung <-chan struct{}) *Client {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &fakeserver.Server{Refuse: func(v, _ string) string {
		if v == verb {
			<-hung
		}
		return ""
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeConn(theirs) }()
	t.Cleanup(func() { _ = theirs.Close(); <-done })
	c, err := New(t.Context(), ours, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		c := hanging(t, "GET", hung)
		c.LimitIdle(time.Minute)
		if err := c.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // between commands
		if err := c.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		begun := time.Now()
		_, err := c.GetUser(t.Context(), "anne")
		if !errors.Is(err, ErrIdle) || !strings.Contains(err.Error(), "the server does not answer for 1m0s") || time.Since(begun) != time.Minute || !c.Broken() {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		close(hung)
	})
}

// A server that takes nothing ends a command, too.
func TestIdleWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() { _, _ = theirs.Write([]byte("* SASL PLAIN\r\n* OK fake\r\n")) }()
		c, err := New(t.Context(), ours, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.LimitIdle(time.Minute)
		if err := c.Restart(t.Context()); !errors.Is(err, ErrIdle) {
			t.Error(err)
		}
		_, _ = c.Close(), theirs.Close()
	})
}

// An interruption is not mistaken for a server that does not answer, and no later read moves its deadline.
func TestInterruptionOfIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		c := hanging(t, "GET", hung)
		c.LimitIdle(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		_, err := c.GetUser(ctx, "anne")
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrIdle) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		close(hung)
	})
}

// The limit ends.
func TestNoLimitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		c := hanging(t, "GET", hung)
		c.LimitIdle(time.Minute)
		if err := c.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.LimitIdle(0)
		time.AfterFunc(time.Hour, func() { close(hung) })
		if _, err := c.GetUser(t.Context(), "anne"); err != nil {
			t.Error(err)
		}
	})
}

// The limit holds below TLS.
func TestIdleWithTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf, roots := certificate(t)
		ours, theirs := net.Pipe()
		hung, done := make(chan struct{}), make(chan struct{})
		s := &fakeserver.Server{Refuse: func(verb, _ string) string {
			if verb == "GET" {
				<-hung
			}
			return ""
		}}
		go func() { defer close(done); _ = s.ServeConn(tls.Server(theirs, conf)) }()
		c, err := New(t.Context(), ours, Options{TLS: &tls.Config{RootCAs: roots, ServerName: "fake.example"}})
		if err != nil {
			t.Fatal(err)
		}
		c.LimitIdle(time.Minute)
		if _, err := c.GetUser(t.Context(), "anne"); !errors.Is(err, ErrIdle) {
			t.Error(err)
		}
		close(hung)
		_, _ = c.Close(), theirs.Close()
		<-done
	})
}
