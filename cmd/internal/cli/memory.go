package cli

import (
	"os"
	"runtime/debug"
)

// SaveMemory makes the garbage collector run more often than usual, unless GOGC is set: a tool runs
// beside the daemon, and needs more memory than CPU for a large mailbox.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}
