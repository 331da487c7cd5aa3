package replication

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Server serves replication connections. It holds only what they share: options, a
// counter, recent refusals and failed logins, and the clients that do not use TLS. Make one with NewServer.
type Server struct {
	opt           Options
	log           *slog.Logger
	slow          slowdown
	badLogins     slowdown // by network
	clear         cleartext
	verbs         map[string]verb
	gets, applies map[string]request

	mu       sync.Mutex
	lastTime int64 // epoch second of the newest session id
	count    int   // session ids made in that second
}

// NewServer checks opt and returns a Server. The error names every fault.
func NewServer(opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt = opt.withDefaults()
	s := &Server{opt: opt, log: opt.Logger, verbs: verbs(), gets: gets(), applies: applies()}
	s.slow = slowdown{now: opt.Clock.Now, step: delayStep, steps: maxSteps}
	s.badLogins = slowdown{now: opt.Clock.Now, step: opt.FailedLoginPause, steps: maxLoginSteps}
	return s, nil
}

// sessionID makes an id that is unique over time, in the format of Cyrus's session ids
// (imap/global.c, session_new_id).
func (s *Server) sessionID() string {
	s.mu.Lock()
	now := s.opt.Clock.Now().Unix()
	if now != s.lastTime {
		s.lastTime, s.count = now, 0
	}
	s.count++
	n := s.count
	s.mu.Unlock()
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%.128s-%d-%d-%d-%d", s.opt.SessionPrefix, now, os.Getpid(), n, binary.NativeEndian.Uint64(b[:]))
}

// levelNotice is between Info and Warn, like LOG_NOTICE.
const levelNotice = slog.LevelInfo + 2

// notice logs a line whose exact wording other programs read (such as fail2ban), so it adds
// no attributes.
func (s *Server) notice(c *conn, line string) { s.log.Log(c.ctx(), levelNotice, line) }

// Clock is the server's time source; tests use their own.
type Clock interface {
	Now() time.Time
	// After is time.After.
	After(time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
