package ctlbackups

import godebug "runtime/debug"

// limitMemory gives the garbage collector the settings that a daemon has.
func limitMemory(n int64) {
	godebug.SetMemoryLimit(n)
	godebug.SetGCPercent(50)
}
