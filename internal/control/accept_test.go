package control

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// Without file descriptors for a while, the socket serves again afterwards.
func TestAcceptSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{log: slog.New(slog.DiscardHandler)}
		s.ctx, s.cancel = context.WithCancel(t.Context())
		defer s.cancel()
		failures := 3
		s.accept(func() (*net.UnixConn, error) {
			if failures == 0 {
				return nil, net.ErrClosed
			}
			failures--
			return nil, &net.OpError{Op: "accept", Err: unix.EMFILE}
		})
		if failures != 0 {
			t.Errorf("accept has ended, %d failures before the end of the listener", failures)
		}
	})
}
