package ctlbackups

import (
	"os"
	"syscall"
)

// ownerOf returns the user id of a file; -1 = unknown.
func ownerOf(info os.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
