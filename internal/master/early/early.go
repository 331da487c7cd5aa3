// Package early keeps SIGHUP from ending a process that has only just begun. master(8)
// sends it to all its children at once, also to one that it has just started, and counts
// a death by it as a failure of the service.
//
// It is imported for its effect, by main. Go initialises packages in the order of their
// import paths as soon as their own imports are ready, so that this one comes before
// nearly all others: they take a hundred times as long as it does.
package early

import (
	"os/signal"
	"syscall"
)

// From here on SIGHUP is without effect, until master.Notify catches it: what it asks
// for, to read the configuration, is yet to come.
func init() { signal.Ignore(syscall.SIGHUP) }
