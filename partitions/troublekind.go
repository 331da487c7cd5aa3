package partitions

import (
	"log/slog"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// troubleKind is the reason why a backup or a partition cannot be used.
type troubleKind string

const (
	// Of a partition.
	troubleNoAnswer    troubleKind = "no-answer"
	troubleNoSpace     troubleKind = "no-space"
	troubleDenied      troubleKind = "denied"
	troubleNoBucket    troubleKind = "no-bucket"
	troubleEmptied     troubleKind = "emptied"
	troubleShared      troubleKind = "shared"
	troubleUnsupported troubleKind = "unsupported"
	troubleStore       troubleKind = "store" // any other unexpected answer
	// Of a backup, or of a partition as a whole.
	troubleDamage  troubleKind = "damage"
	troubleVersion troubleKind = "version"
	// Of a backup.
	troubleForeign  troubleKind = "foreign"
	troubleTwice    troubleKind = "twice"
	troubleMoved    troubleKind = "moved"
	troubleSealed   troubleKind = "sealed"
	troubleLocked   troubleKind = "locked"
	troubleInternal troubleKind = "internal"
)

// BackupTroubles returns the kinds of trouble of a backup.
func BackupTroubles() []string {
	return texts(troubleDamage, troubleVersion, troubleForeign, troubleTwice, troubleMoved, troubleSealed, troubleLocked, troubleInternal)
}

// RefusalKinds returns the kinds of refusals: those of trouble, busy, and outside.
func RefusalKinds() []string {
	return append(texts(troubleNoAnswer, troubleNoSpace, troubleDenied, troubleNoBucket, troubleEmptied, troubleShared, troubleUnsupported, troubleStore),
		append(BackupTroubles(), refusedBusy, RefusedOutside)...)
}

func texts(kinds ...troubleKind) (out []string) {
	for _, k := range kinds {
		out = append(out, string(k))
	}
	return out
}

// quiet is how long a trouble must be absent before a success ends it. An answer ends an
// outage immediately.
func (k troubleKind) quiet() time.Duration {
	if k == troubleNoAnswer || k == troubleNoSpace || k == troubleLocked {
		return 0
	}
	return troubleQuiet
}

// level returns the level of the log line that reports the start of a trouble.
func (k troubleKind) level() slog.Level {
	if k == troubleLocked {
		return slog.LevelWarn // the lock was taken on purpose
	}
	return slog.LevelError
}

// advice returns what an administrator can do.
func (k troubleKind) advice(s troubleScope) string {
	switch k {
	case troubleNoAnswer:
		return "look at the store and at the network; clients come back by themselves"
	case troubleNoSpace:
		return "make room in the store, or raise its quota"
	case troubleDenied:
		return "check the credentials and the bucket policy: backupd needs to get, put, head and list below its prefix"
	case troubleNoBucket:
		return "check the location in imapd.conf: the bucket or directory is not there"
	case troubleEmptied:
		return "mount the disk, or correct the location in imapd.conf; administration.md has more"
	case troubleShared:
		return "give each backuppartition-NAME in imapd.conf another location"
	case troubleUnsupported:
		return "the store lacks something that backupd needs: see backup-imapd.conf(5), backup_exclusive"
	case troubleVersion:
		return "a newer version wrote this: update backupd on this host"
	case troubleForeign:
		return "see whose backup.json this is; ctl_backups set-aside -f " + s.backup + " lets a new backup begin"
	case troubleTwice:
		return "remove or rename one of the two: ctl_backups(8)"
	case troubleMoved:
		return "finish the move: ctl_backups move " + s.owner() + " PARTITION"
	case troubleLocked:
		return "the lock ends with the program that holds it"
	case troubleSealed:
		return "see ctl_backups(8)"
	case troubleDamage:
		if s.backup == "" {
			return "restore repository.json from another copy of the bucket"
		}
		return "ctl_backups verify --repair -f " + s.backup
	case troubleInternal:
		return "look at the lines before this one; please report it"
	}
	return "look at the store's own log"
}

// owner returns the backup as an argument for the tools.
func (s troubleScope) owner() string {
	if user, ok := strings.CutPrefix(s.backup, repository.KindUser+"/"); ok {
		return user
	}
	return "-f " + s.backup
}
