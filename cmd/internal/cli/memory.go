package cli

import (
	"os"
	"runtime/debug"
)

// toolMemory is what a tool should take for a mailbox of a million messages, in bytes.
const toolMemory = 100 << 20

// SaveMemory makes the garbage collector run more often than usual, and even more often near
// toolMemory: a tool runs beside the daemon, and needs more memory than CPU for a large mailbox.
// GOGC and GOMEMLIMIT have precedence.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	LimitMemory(toolMemory)
}

// LimitMemory makes the garbage collector run more often when the memory comes near n bytes.
// Elsewhere it would wait until the heap has doubled. GOMEMLIMIT has precedence.
func LimitMemory(n int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(n)
	}
}
