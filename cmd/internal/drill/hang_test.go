package drill

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication/client"
)

// stalling is the client's end of a connection. Once it stalls, no byte arrives, and each deadline is over
// at once.
type stalling struct {
	net.Conn
	mu      sync.Mutex
	stalled bool
}

func (s *stalling) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = true
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *stalling) SetReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled {
		at = time.Unix(1, 0)
	}
	return s.Conn.SetReadDeadline(at)
}

// A server that does not answer the n-th command, or any from there on, ends the drill. That is a fault of
// the server. Without a limit for each command, this would be another error.
func TestServerThatDoesNotAnswer(t *testing.T) {
	b := world(t)
	account(t, b)
	for _, always := range []bool{false, true} {
		for n := 1; ; n++ {
			p, x, failed := new(problems), newTarget(t, "b1"), ""
			var last *stalling
			x.wrap = func(c net.Conn) net.Conn { last = &stalling{Conn: c}; return last }
			x.breaks(func(i int, what string) string {
				if i == n || i > n && always {
					failed = what
					last.stall()
				}
				return ""
			})
			out, err := Run(t.Context(), b.Found(), p.into(x.Server))
			x.breaks(nil)
			if failed == "" {
				break
			}
			var fault *ServerError
			switch {
			case len(p.list)+out.Problems > 0, err != nil && (!errors.As(err, &fault) || !errors.Is(err, client.ErrIdle)),
				err == nil && out.Messages != 4, out.Left != nil && !errors.Is(out.Left, client.ErrIdle):
				t.Errorf("%d (%s), always %v: %+v, %v, %q", n, failed, always, out, err, p.list)
			}
			if err := x.Clear(t.Context(), time.Now()); err != nil {
				t.Errorf("%d (%s): %v", n, failed, err)
			}
		}
	}
}
