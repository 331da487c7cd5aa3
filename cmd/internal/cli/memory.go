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

// outsideOfHeap is what the index takes in addition to Go's heap: four tables of 4 MiB while
// compactions fill them, and pages of mapped files above those of the program (package index).
const outsideOfHeap = 40 << 20

// LimitIndexMemory is for a program that writes the index. It makes the garbage collector work harder
// before n bytes are in use, with what the index needs beside the heap. The heap in use is about
// 100 MiB in a first sync of a large mailbox. Half of the default growth keeps the peak close to it.
func LimitIndexMemory(n int64) {
	debug.SetMemoryLimit(max(n-outsideOfHeap, n/2))
	debug.SetGCPercent(50)
}
