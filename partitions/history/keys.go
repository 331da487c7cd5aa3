package history

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Every object of a backup except backup.json is a container with this suffix.
const objectSuffix = ".tar.zst"

// maxNumber is the largest commit number that fits in a key.
const maxNumber = 9_999_999_999_999_999

// LogPrefix returns the prefix of the keys of the commits and segments of a backup
// ("user/anne").
func LogPrefix(backup string) string { return "backups/" + backup + "/log/" }

// LogKey returns the key of commit n.
func LogKey(backup string, n uint64) string {
	return fmt.Sprintf("%s%016d%s", LogPrefix(backup), n, objectSuffix)
}

// SegmentKey returns the key of the segment with commits from … to.
func SegmentKey(backup string, from, to uint64) string {
	return fmt.Sprintf("%s%016d-%016d%s", LogPrefix(backup), from, to, objectSuffix)
}

// CheckpointPrefix returns the prefix of the keys of the checkpoints of a backup.
func CheckpointPrefix(backup string) string { return "backups/" + backup + "/checkpoints/" }

// CheckpointKey returns the key of the checkpoint whose last commit is n.
func CheckpointKey(backup string, n uint64) string {
	return fmt.Sprintf("%s%016d%s", CheckpointPrefix(backup), n, objectSuffix)
}

// RecordsPrefix returns the prefix of the keys of objects with blocks of a backup.
func RecordsPrefix(backup string) string { return "backups/" + backup + "/records/" }

// RecordsKey returns the key of an object with blocks; sum is the SHA-256 of its bytes.
func RecordsKey(backup string, sum [32]byte) string {
	return RecordsPrefix(backup) + hex.EncodeToString(sum[:]) + objectSuffix
}

// PackKey returns the key of a pack; sum is the SHA-256 of its bytes.
func PackKey(sum [32]byte) string {
	h := hex.EncodeToString(sum[:])
	return "packs/" + h[:2] + "/" + h + objectSuffix
}

// ParseLogKey returns the commits in the log object with this key: from == to for a
// commit, a range for a segment. ok is false for any other key.
func ParseLogKey(backup, key string) (from, to uint64, ok bool) {
	name, found := strings.CutPrefix(key, LogPrefix(backup))
	if !found {
		return 0, 0, false
	}
	if name, found = strings.CutSuffix(name, objectSuffix); !found {
		return 0, 0, false
	}
	first, last, segment := strings.Cut(name, "-")
	if from, ok = parseNumber(first); !ok {
		return 0, 0, false
	}
	if !segment {
		return from, from, true
	}
	if to, ok = parseNumber(last); !ok || to < from {
		return 0, 0, false
	}
	return from, to, true
}

// ParseCheckpointKey returns the number in a CheckpointKey.
func ParseCheckpointKey(backup, key string) (n uint64, ok bool) {
	name, found := strings.CutPrefix(key, CheckpointPrefix(backup))
	if !found {
		return 0, false
	}
	if name, found = strings.CutSuffix(name, objectSuffix); !found {
		return 0, false
	}
	return parseNumber(name)
}

// parseNumber reads exactly 16 decimal digits that are not all zero.
func parseNumber(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n > 0
}

// IsRecordsKey reports whether key is a RecordsKey of the backup.
func IsRecordsKey(backup, key string) bool {
	name, found := strings.CutPrefix(key, RecordsPrefix(backup))
	if !found {
		return false
	}
	name, found = strings.CutSuffix(name, objectSuffix)
	sum, err := hex.DecodeString(name)
	return found && err == nil && len(sum) == 32
}
