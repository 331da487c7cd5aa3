//go:build !lapse

// Package clock is the time of the programs: that of the host. With the build tag lapse, the
// programs are for tests: days pass within seconds.
package clock

import (
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Now returns the time of this host.
func Now() time.Time { return time.Now() }

// Store returns a store whose times are comparable with Now.
func Store(s objstore.Store) objstore.Store { return s }
