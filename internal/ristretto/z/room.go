package z

import (
	"os"
	"path/filepath"
	"time"
)

// makeAgain is the pause before a file that must be made is tried again.
const makeAgain = 250 * time.Millisecond

// begin sets the size of a new file and allocates it. A value log is written to by and by,
// if at all: whoever writes there allocates it.
func begin(fd *os.File, size int64) error {
	const first = 1 << 20
	if filepath.Ext(fd.Name()) != ".vlog" || size <= first {
		return grow(fd, 0, size)
	}
	if err := grow(fd, 0, first); err != nil {
		return err
	}
	return fd.Truncate(size)
}

// mustBeMade says that it is waited for until the file can be made: until the disk has
// room, or the process descriptors. Badger v4.9.6 loses what is in a new table when a
// compaction cannot make it: subcompact in levels.go drops that error (its deferred Done
// has the err of before).
func mustBeMade(filename string, flag int) bool {
	return flag&os.O_CREATE != 0 && isTable(filename)
}
