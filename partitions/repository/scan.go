package repository

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// mostListed is how many keys of a backup a scan keeps. It skips the rest of a longer backup:
// whoever needs them lists that backup alone, beside others.
const mostListed = 1000

// listing is the part of a list of all backups that is about one of them.
type listing struct {
	path string
	at   time.Time       // before the keys were listed
	keys []objstore.Info // in order
	rest bool            // there may be more keys
}

// scan lists the backups of a partition after a key, in order of their keys. A page of the store's list
// contains hundreds of small backups.
func scan(ctx context.Context, s objstore.Store, after string) iter.Seq2[*listing, error] {
	return func(yield func(*listing, error) bool) {
		for after, more := after, true; more; {
			after, more = scanFrom(ctx, s, after, yield)
		}
	}
}

// scanFrom lists the backups after a key. If it meets a long backup, it yields the backup and
// returns the key to continue after.
func scanFrom(ctx context.Context, s objstore.Store, after string, yield func(*listing, error) bool) (next string, more bool) {
	var l *listing
	at := time.Now()
	for info, err := range s.List(ctx, "backups/", after) {
		if err != nil {
			yield(nil, err)
			return "", false
		}
		path := backupOf(info.Key)
		if l != nil && l.path != path {
			if !yield(l, nil) {
				return "", false
			}
			l, at = nil, time.Now()
		}
		switch {
		case path == "":
			continue // unknown key
		case l == nil:
			l = &listing{path: path, at: at}
		case len(l.keys) == mostListed:
			l.rest = true
			return afterBackup(path), yield(l, nil)
		}
		l.keys = append(l.keys, info)
	}
	if l != nil {
		yield(l, nil)
	}
	return "", false
}

// afterBackup returns a key that sorts after those of a backup: "0" follows "/".
func afterBackup(path string) string { return strings.TrimSuffix(BackupPrefix(path), "/") + "0" }

// list lists this backup alone.
func (f *Found) list(ctx context.Context) (*listing, error) {
	l := &listing{path: f.Path, at: time.Now()}
	for info, err := range f.unlistedStore().List(ctx, BackupPrefix(f.Path), "") {
		if err != nil {
			return nil, err
		}
		if len(l.keys) == mostListed {
			l.rest = true
			break
		}
		l.keys = append(l.keys, info)
	}
	return l, nil
}

// backupOf returns the path of the backup that an object belongs to, or "".
func backupOf(key string) string {
	parts := strings.SplitN(key, "/", 4)
	if len(parts) < 4 || parts[0] != "backups" || !slices.Contains([]string{KindUser, KindShared, KindServer}, parts[1]) {
		return ""
	}
	return parts[1] + "/" + parts[2]
}

// cursor goes through the backups of a partition beside the scan of another one, in the same
// order.
type cursor struct {
	next func() (*listing, error, bool)
	stop func()
	at   *listing // nil before the first one
	err  error    // the partition cannot be listed
	end  bool
}

func newCursor(ctx context.Context, s objstore.Store, after string) *cursor {
	c := new(cursor)
	c.next, c.stop = iter.Pull2(scan(ctx, s, after))
	return c
}

// mayHave reports whether the partition has objects of the backup, or cannot be listed. Each call
// is for a later backup than the one before.
func (c *cursor) mayHave(path string) bool {
	key := BackupPrefix(path)
	for c.err == nil && !c.end && (c.at == nil || BackupPrefix(c.at.path) < key) {
		var more bool
		c.at, c.err, more = c.next()
		c.end = !more
	}
	return c.err != nil || !c.end && c.at.path == path
}
