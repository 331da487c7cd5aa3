package master

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// secondSignalAfter is the minimum time between two signals that count separately.
const secondSignalAfter = time.Second

// Signals are the signals that a service handles: SIGHUP, and SIGTERM, SIGINT and SIGQUIT, which
// all ask for a graceful end (lib/signals.c, signals_add_handlers).
type Signals struct {
	c chan os.Signal
}

// Notify starts catching the signals. It is called early, because a SIGHUP during the start would
// kill the service, and master would count a failure. SIGPIPE is ignored, so that a write on
// standard output to a client that has disconnected returns an error.
func Notify() *Signals {
	s := &Signals{c: make(chan os.Signal, 8)}
	signal.Notify(s.c, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	return s
}

// channel returns nil, which blocks for ever, for a nil Signals.
func (s *Signals) channel() <-chan os.Signal {
	if s == nil {
		return nil
	}
	return s.c
}

// lastWarning restores the default effect of the signals that end a process, so that another one
// kills. It waits a moment first, because at "systemctl stop" every process gets a SIGTERM from
// systemd and another one from master.
func (s *Signals) lastWarning() {
	if s != nil {
		time.AfterFunc(secondSignalAfter, func() {
			signal.Reset(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
		})
	}
}
