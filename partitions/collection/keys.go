package collection

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// kind is how an object of a backup takes part in the count.
type kind byte

const (
	kindUnknown    kind = iota
	kindNone            // names no packs
	kindCopying         // names none, too: history.CopyingKey
	kindCheckpoint      // names objects with blocks
	kindLog             // names packs: a commit or a segment
	kindBlocks          // names packs, if a checkpoint has its places there
	kindUses
)

// object is an object of a backup.
type object struct {
	objstore.Info
	rel      string // key below the prefix of the backup
	kind     kind
	from, to uint64 // the commits in it; of a checkpoint, its number twice
}

// passing reports whether the object may be put or left whatever becomes of the backup: a lease, holds, or uses. Only leases
// are left of a backup if set-aside is interrupted at its end; holds of a copy change years later.
func (o *object) passing() bool {
	return o.rel == "lock.json" || o.rel == "upkeep.json" || o.rel == "holds.json" || o.kind == kindUses
}

// infoName is the last element of the key of backup.json.
const infoName = "backup.json"

// usesName is the last element of the key of a backup's uses.
const usesName = repository.UsesName

// single reports whether the object is a single commit, and not a segment.
func (o *object) single() bool {
	return o.kind == kindLog && o.from == o.to && o.rel == commitName(o.to)
}

// commitName returns the key of a single commit below the prefix of its backup.
func commitName(n uint64) string {
	return strings.TrimPrefix(history.LogKey(anyBackup, n), repository.BackupPrefix(anyBackup))
}

// UsesKey is the key of a copy of what the objects of a backup name.
func UsesKey(path string) string { return repository.BackupPrefix(path) + usesName }

// without are the objects of a backup that name no packs.
var without = []string{infoName, "lock.json", "upkeep.json", "holds.json", "set-aside.json"}

// anyBackup is a path for functions that need one. Objects of a backup that was set aside
// have other prefixes than their path.
const anyBackup = "user/x"

// parseObject describes an object below the prefix of a backup.
func parseObject(prefix string, info objstore.Info) object {
	o := object{Info: info, rel: strings.TrimPrefix(info.Key, prefix)}
	key := "backups/" + anyBackup + "/" + o.rel
	var ok bool
	if o.from, o.to, ok = history.ParseLogKey(anyBackup, key); ok {
		o.kind = kindLog
		return o
	}
	if o.from, ok = history.ParseCheckpointKey(anyBackup, key); ok {
		o.kind, o.to = kindCheckpoint, o.from
		return o
	}
	switch {
	case history.IsRecordsKey(anyBackup, key):
		o.kind = kindBlocks
	case o.rel == usesName:
		o.kind = kindUses
	case slices.Contains(without, o.rel):
		o.kind = kindNone
	case isCopying(key):
		o.kind = kindCopying
	}
	return o
}

func isCopying(key string) bool {
	_, _, ok := history.ParseCopyingKey(anyBackup, key)
	return ok
}

// prefixOf returns the prefix of the backup that a key belongs to, with a final slash. ok is
// false for a key that belongs to no backup.
func prefixOf(key string) (prefix string, ok bool) {
	elements := 3 // backups/<kind>/<name>/
	if strings.HasPrefix(key, asidePrefix) {
		elements = 4 // set-aside/<kind>/<name>/<time>/
	}
	end := 0
	for range elements {
		n := strings.IndexByte(key[end:], '/')
		if n < 0 {
			return "", false
		}
		end += n + 1
	}
	return key[:end], true
}

const (
	backupPrefix = "backups/"
	asidePrefix  = "set-aside/"
	// asidePacks are packs that wait, during a repair, until their key is free.
	asidePacks = asidePrefix + "packs/"
)

// version is what shows that an object was replaced.
type version struct {
	ETag     string    `json:"etag,omitempty"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified,omitzero"` // only without an ETag
}

// versionOf returns the version that a list shows. A copy of a bucket has other times, so
// they count only in a store whose lists have no ETags.
func versionOf(i objstore.Info) version {
	if i.ETag != "" {
		return version{ETag: i.ETag, Size: i.Size}
	}
	return version{Size: i.Size, Modified: i.Modified.UTC()}
}

func (v version) same(w version) bool {
	return v.ETag == w.ETag && v.Size == w.Size && v.Modified.Equal(w.Modified)
}

// fingerprint identifies the objects of a backup that decide about its packs.
type fingerprint struct{ sum hash.Hash }

func newFingerprint() fingerprint { return fingerprint{sha256.New()} }

func (f fingerprint) add(o object) {
	if o.kind == kindNone || o.kind == kindCopying || o.kind == kindUses {
		return
	}
	v := versionOf(o.Info)
	_, _ = fmt.Fprintf(f.sum, "%q %q %d %s\n", o.rel, v.ETag, v.Size, v.Modified.Format(time.RFC3339Nano)) // a hash returns no error
}

func (f fingerprint) value() (v [32]byte) {
	f.sum.Sum(v[:0])
	return v
}
