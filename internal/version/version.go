// Package version reports the release of this program.
package version

import "runtime/debug"

// Number returns the release, or the revision of a development build.
func Number() string {
	const release = "0.1.0"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return release + "-" + s.Value[:12]
		}
	}
	return release
}

// Software returns name and release, as recorded in buckets.
func Software() string { return "backupd " + Number() }
