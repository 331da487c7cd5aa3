package history

import (
	"errors"
	"fmt"
	"strings"
)

// A copy of a backup puts the objects of the log one after the other. If the target has an earlier part of
// the log, whoever reads it meanwhile finds a log that ends with a segment, or that has a hole: commits seem
// to be lost. So an empty object beside the log names the commit that the copy puts last. It is put before the
// first of the others, and removed after the last one. Once the log has that commit, it means nothing: its
// removal may have failed.

const copyingPrefix, copyingSuffix = "copying-", ".json"

// CopyingKey returns the key of the object that exists while the log is copied up to commit n. A list shows
// it after the objects of the log.
func CopyingKey(backup string, n uint64) string {
	return fmt.Sprintf("%s%s%016d%s", LogPrefix(backup), copyingPrefix, n, copyingSuffix)
}

// CopyingBody is the content of that object. Readers need only the key.
const CopyingBody = `{"version":1}` + "\n"

// ParseCopyingKey returns the number in a CopyingKey.
func ParseCopyingKey(backup, key string) (n uint64, ok bool) {
	name, found := strings.CutPrefix(key, LogPrefix(backup)+copyingPrefix)
	if !found {
		return 0, false
	}
	if name, found = strings.CutSuffix(name, copyingSuffix); !found {
		return 0, false
	}
	return parseNumber(name)
}

// ErrUnfinished reports a log that is being copied, or whose copy was interrupted. The error around it has
// advice.
var ErrUnfinished = errors.New("not completely copied")

// Unfinished returns an error, ErrUnfinished, if a log ends before a commit that a copy puts last. newest is the
// last commit that it has, copying the numbers in its CopyingKeys.
func Unfinished(backup string, newest uint64, copying []uint64) error {
	for _, n := range copying {
		if n > newest {
			return fmt.Errorf("backups/%s is %w: it has commit %d, and not all of the next ones up to %d: run the ctl_backups export or move to this place again. "+
				"If the original is gone, see docs/damage.md", backup, ErrUnfinished, newest, n)
		}
	}
	return nil
}
