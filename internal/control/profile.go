package control

import "time"

// LongestProfile limits a profile that takes time: it costs CPU while it runs.
const LongestProfile = 10 * time.Minute

// ProfileKinds are the values of Request.Kind for a profile.
func ProfileKinds() []string {
	return []string{"cpu", "heap", "allocs", "goroutine", "block", "mutex", "trace"}
}

// TakesTime reports whether a profile is of a time rather than of a moment.
func TakesTime(kind string) bool {
	return kind == "cpu" || kind == "block" || kind == "mutex" || kind == "trace"
}
