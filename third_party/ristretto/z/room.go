package z

import (
	"os"
	"path/filepath"
	"time"
)

// makeAgain is the pause before a file that must be made is tried again.
const makeAgain = 250 * time.Millisecond

// mustBeMade says that it is waited for until the file can be made: until the disk has
// room, or the process descriptors. Badger v4.9.6 loses what is in a new table when a
// compaction cannot make it: subcompact in levels.go drops that error (its deferred Done
// has the err of before).
func mustBeMade(filename string, flag int) bool {
	return flag&os.O_CREATE != 0 && filepath.Ext(filename) == ".sst"
}
