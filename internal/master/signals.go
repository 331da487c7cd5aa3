package master

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// secondSignalAfter is how far apart two signals are that are meant as two.
const secondSignalAfter = time.Second

// Signals are those that a service answers: SIGHUP, and SIGTERM, SIGINT and SIGQUIT,
// which all ask for a graceful end (lib/signals.c, signals_add_handlers).
type Signals struct {
	c chan os.Signal
}

// Notify begins to catch them. It is called early: a SIGHUP that arrives while the
// service starts would otherwise kill it, and master would count a failure. SIGPIPE is
// ignored, so that a write on standard output to a client that has gone is an error.
func Notify() *Signals {
	s := &Signals{c: make(chan os.Signal, 8)}
	signal.Notify(s.c, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	return s
}

// channel is nil, which blocks for ever, for a nil Signals.
func (s *Signals) channel() <-chan os.Signal {
	if s == nil {
		return nil
	}
	return s.c
}

// lastWarning gives the signals that end a process their default effect back, so that
// another one kills. It does so only after a moment: at "systemctl stop" every process
// gets one SIGTERM from systemd and one from master, for the same reason.
func (s *Signals) lastWarning() {
	if s != nil {
		time.AfterFunc(secondSignalAfter, func() {
			signal.Reset(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
		})
	}
}
