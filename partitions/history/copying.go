package history

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A copy of a backup puts the objects of the log one after the other. If the target has an earlier part of
// the log, whoever reads it meanwhile finds a log that ends with a segment, or that has a hole: commits seem
// to be lost. So a small object beside the log names the commit that the copy puts last, and the backup. It is put
// before the first of the others, and removed after the last one. Once the log has that commit, it means
// nothing: its removal may have failed. It also means nothing beside another backup of the same name.

const copyingSuffix = ".json"

// CopyingPrefix is the prefix of the keys that CopyingKey returns.
func CopyingPrefix(backup string) string { return LogPrefix(backup) + "copying-" }

// CopyingKey returns the key of the object that exists while the log is copied up to commit n. id is that in
// backup.json. A list shows it after the objects of the log.
func CopyingKey(backup string, n uint64, id string) string {
	return fmt.Sprintf("%s%016d-%s%s", CopyingPrefix(backup), n, id, copyingSuffix)
}

// CopyingBody is the content of that object. Readers need only the key.
const CopyingBody = `{"version":1}` + "\n"

// ParseCopyingKey returns the number and the id in a CopyingKey.
func ParseCopyingKey(backup, key string) (n uint64, id string, ok bool) {
	name, found := strings.CutPrefix(key, CopyingPrefix(backup))
	if !found {
		return 0, "", false
	}
	if name, found = strings.CutSuffix(name, copyingSuffix); !found {
		return 0, "", false
	}
	number, id, _ := strings.Cut(name, "-")
	if b, err := hex.DecodeString(id); err != nil || len(b) != 16 || strings.ToLower(id) != id {
		return 0, "", false
	}
	n, ok = parseNumber(number)
	return n, id, ok
}

// ErrUnfinished reports a log that is being copied, or whose copy was interrupted. The error around it has
// advice.
var ErrUnfinished = errors.New("not completely copied")

// Unfinished returns an error, ErrUnfinished, if the log ends before the commit that a copy puts last. newest
// is the last commit that it has, copying that of the copy.
func (l *Log) Unfinished(newest, copying uint64) error {
	if copying <= newest {
		return nil
	}
	return fmt.Errorf("backups/%s is %w: it has commit %d, and not all of the next ones up to %d: run the ctl_backups export or move to this place again. "+
		"If the original is gone, or was put back to an older state, see docs/damage.md about %s", l.Backup, ErrUnfinished, newest, copying, CopyingKey(l.Backup, copying, l.ID))
}
