package restore

import (
	"os"
	"runtime/debug"
)

// perConnection is the memory for one user or folder at a time: a million small messages need
// about 80 MiB.
const perConnection = 112 << 20

// limitMemory lets the garbage collector run more often when the memory comes near the limit.
// Elsewhere it would wait until the heap has doubled. GOMEMLIMIT has precedence.
func limitMemory(connections int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(connections) * perConnection)
	}
}
