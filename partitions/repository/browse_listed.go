package repository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// BrowseListed yields the backups of a partition as a list of the store shows them, whether they are used there or not. It
// sends no request for any of them, so a Found has no Info until ReadListed.
func BrowseListed(ctx context.Context, p Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for l, err := range scan(ctx, p.Store, "") {
			if err != nil {
				yield(nil, UnaskedError{p, err})
				return
			}
			if !yield(&Found{Partition: p, Path: l.path, listed: l}, nil) {
				return
			}
		}
	}
}

// ReadListed reads backup.json of a backup that BrowseListed has yielded. Beside an error, the Found has only its Path.
func (f *Found) ReadListed(ctx context.Context) (*Found, error) {
	return readFound(ctx, f.Partition, f.listed)
}

// ListsInfo reports whether the list has shown backup.json.
func (f *Found) ListsInfo() bool {
	if f.listed == nil {
		return false
	}
	_, there := f.listed.find(BackupInfoKey(f.Path))
	return there
}

// ListedVersion returns a hash of the versions of backup.json, of all objects of the log and of all checkpoints, as a list
// has shown them, and the highest number of a single commit. The hash is "" if it is unknown. While it is the same, so are
// those objects, as far as the ETags of the store can be trusted.
func (f *Found) ListedVersion() (version string, newest uint64) {
	if f.listed == nil || f.listed.rest {
		return "", 0
	}
	sum := sha256.New()
	for _, i := range f.listed.keys {
		name := strings.TrimPrefix(i.Key, BackupPrefix(f.Path))
		if i.Key != BackupInfoKey(f.Path) && !strings.HasPrefix(name, "log/") && !strings.HasPrefix(name, "checkpoints/") {
			continue
		}
		if i.ETag == "" {
			return "", 0
		}
		if from, to, ok := history.ParseLogKey(f.Path, i.Key); ok && from == to && i.Key == history.LogKey(f.Path, from) {
			newest = max(newest, from)
		}
		fmt.Fprintf(sum, "%s %d %q\n", name, i.Size, i.ETag)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), newest
}
