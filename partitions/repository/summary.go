package repository

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Summary is what a list of backups shows of one.
type Summary struct {
	Number uint64 // of the newest commit; 0 = none
	// Bytes is the size of the backup's own objects: its log, checkpoints and blocks, without
	// packs, which backups share.
	Bytes int64
	// Changed is when the newest commit with data from a mail server was made; zero = unknown.
	Changed time.Time
	// Client is the mail server that has sent it, as in the commit; "" = unknown.
	Client string
	// Held reports that the backup has a holds.json, which ReadHolds reads.
	Held bool
	// Doubt explains to people why a store time was ignored; "" = it was not.
	Doubt string
}

// Summarize lists the objects of the backup and reads its newest commit. now is the reader's clock.
// Number and Bytes are valid beside an error of the commit.
func (f *Found) Summarize(ctx context.Context, now time.Time) (s Summary, err error) {
	for info, err := range f.Partition.Store.List(ctx, BackupPrefix(f.Path), "") {
		if err != nil {
			return s, err
		}
		if info.Key == HoldsKey(f.Path) {
			s.Held = true
			continue
		}
		s.Bytes += info.Size
		if _, to, ok := history.ParseLogKey(f.Path, info.Key); ok {
			s.Number = max(s.Number, to)
		}
	}
	s.Client, s.Changed, s.Doubt, err = f.lastChange(ctx, s.Number, now)
	return s, err
}

// lookedBack limits how many commits of tools are skipped in the search for a commit from a
// mail server.
const lookedBack = 100

// LastChange returns the time of the newest commit, up to a number, with data from a mail
// server; zero if there is none. Locks and moves write commits, too. A site that locks all
// backups nightly, to copy them, still wants to see which mail servers have stopped sending.
// doubt is as in Summary.
func (f *Found) LastChange(ctx context.Context, newest uint64, now time.Time) (at time.Time, doubt string, err error) {
	_, at, doubt, err = f.lastChange(ctx, newest, now)
	return at, doubt, err
}

func (f *Found) lastChange(ctx context.Context, newest uint64, now time.Time) (client string, at time.Time, doubt string, err error) {
	for n := newest; n > 0 && newest-n < lookedBack; n-- {
		for r, err := range f.Log().Commits(ctx, n, n) {
			if history.IsUnreadable(err) {
				break // older commits are no newer
			}
			if err != nil {
				return "", time.Time{}, "", err
			}
			if toolsOnly, err := ofTools(r); err != nil {
				return "", time.Time{}, "", err
			} else if !toolsOnly {
				at, doubt, err := f.Log().Made(ctx, r.Header(), now)
				return r.Header().Client, at, doubt, err
			}
		}
	}
	return "", time.Time{}, "", nil
}

// RetentionConnection is the connection in the header of a commit of retention.
const RetentionConnection = "retention"

// ofTools reports whether a commit has no data from a mail server.
func ofTools(r *history.CommitReader) (bool, error) {
	if r.Header().Connection == RetentionConnection {
		return true, nil // its unmailbox events, too
	}
	for e, err := range r.Events() {
		if err != nil || !history.FromTool(e) {
			return false, err
		}
	}
	return true, nil
}
