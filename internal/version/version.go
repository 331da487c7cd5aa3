// Package version says which release this is.
package version

import "runtime/debug"

// Number is the release, or the revision that a development build was made from.
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

// Software is the name and release, as it stands in what is written to a bucket.
func Software() string { return "backupd " + Number() }
