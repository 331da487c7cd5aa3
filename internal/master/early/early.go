// Package early ignores SIGHUP from the very start of a process. master(8) sends SIGHUP to all
// children at once, even to a new one, and counts a death by it as a failure of the service.
//
// main imports it for its effect. Go initialises packages in the order of their import paths as
// soon as their own imports are ready, so this package comes before nearly all others, which
// together take a hundred times as long.
package early

import (
	"os/signal"
	"syscall"
)

// From here on SIGHUP has no effect, until master.Notify catches it. Nothing is lost, because the
// configuration has not been read yet.
func init() { signal.Ignore(syscall.SIGHUP) }
