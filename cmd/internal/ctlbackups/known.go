package ctlbackups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// partTime limits the wait for each part of the daemon's list.
const partTime = 10 * time.Second

// inList is a backup in a list. known are the values of the daemon's index; nil = they must be read
// from the bucket.
type inList struct {
	*repository.Found
	known *partitions.Known
	// indexed means that only the daemon has named the backup, which may be gone by now.
	indexed bool
	// unreadable means that backup.json could not be read when the daemon counted the backups.
	unreadable bool
	// measures means that the log is read even if known is set, unless it was measured earlier.
	measures bool
}

// ListedBytes is 0 for a backup that needs not be read.
func (b inList) ListedBytes() (n int64, ok bool) {
	switch {
	case b.known != nil && b.measures && b.known.Measured == nil:
		return b.known.Bytes, true
	case b.known != nil:
		return 0, true
	}
	return b.Found.ListedBytes()
}

// readable returns why the backup.json of an unreadable backup cannot be read now. A backup that is gone
// is no error.
func (c *command) readable(b inList) error {
	if !b.unreadable {
		return nil
	}
	_, err := repository.FindPath(c.ctx, b.Partition, b.Path)
	if !errors.Is(err, repository.ErrNoBackup) {
		return err
	}
	for _, err := range b.Partition.Store.List(c.ctx, repository.BackupPrefix(b.Path), "") {
		if err == nil {
			err = repository.ErrIncomplete
		}
		return fmt.Errorf("partition %s: backups/%s: %w", b.Partition.Name, b.Path, err)
	}
	return nil
}

// errStopped ends a request because the loop has ended.
var errStopped = errors.New("the loop has ended")

// inIndex yields the chosen backups as a running daemon knows them, in its answer to op. If no daemon
// can answer, it yields them from the bucket. measures is as in inList.
func (c *command) inIndex(op string, measures bool) iter.Seq2[inList, error] {
	return func(yield func(inList, error) bool) {
		begun := false
		reply, err := control.AskParts(c.ctx, c.bucket.Conf.String("backup_control_socket"), control.Request{Op: op}, partTime, func(part json.RawMessage) error {
			var some []partitions.Known
			if err := json.Unmarshal(part, &some); err != nil {
				return err
			}
			for _, k := range some {
				b, err := c.indexed(k)
				if err != nil {
					return err
				}
				begun, b.measures = true, measures
				if c.fits(b.Found) && !yield(b, nil) {
					return errStopped
				}
			}
			return nil
		})
		if err == nil && reply.Error != "" {
			err = errors.New("backupd: " + reply.Error)
		}
		switch {
		case errors.Is(err, errStopped):
			return
		case err != nil && begun:
			yield(inList{}, fmt.Errorf("%w: the list is incomplete, --from-bucket does not need backupd", err))
			return
		case err != nil:
			if c.verbose > 0 {
				cli.Fprintf(c.err, "ctl_backups: reading the bucket: %v\n", err)
			}
			inBucket(c.chosen())(yield)
			return
		}
		if reply.Note != "" {
			cli.Fprintf(c.err, "ctl_backups: %s\n", reply.Note)
		}
		for err := range c.unmatched() {
			if !yield(inList{}, err) {
				return
			}
		}
	}
}

// indexed returns a backup that the daemon has named.
func (c *command) indexed(k partitions.Known) (inList, error) {
	for _, p := range c.bucket.Partitions {
		if p.Name != k.Partition {
			continue
		}
		b := inList{indexed: true, Found: &repository.Found{Partition: p, Path: k.Path,
			Info: repository.BackupInfo{Version: repository.Version, Kind: k.Kind, Name: k.Name}}}
		if k.Bytes > 0 {
			b.known = &k
		}
		b.unreadable = k.Unreadable
		return b, nil
	}
	return inList{}, fmt.Errorf("backupd has a partition %s, which is not in this imapd.conf", k.Partition)
}

// inBucket yields backups whose values must be read.
func inBucket(backups iter.Seq2[*repository.Found, error]) iter.Seq2[inList, error] {
	return func(yield func(inList, error) bool) {
		for f, err := range backups {
			if !yield(inList{Found: f}, err) {
				return
			}
		}
	}
}

// changed notifies a running daemon that the bucket has other backups than its index knows.
func (c *command) changed() {
	// An error means that no daemon runs, or an older one. Neither answers list from its index.
	_, _ = control.AskParts(context.WithoutCancel(c.ctx), c.bucket.Conf.String("backup_control_socket"), control.Request{Op: "changed"}, partTime,
		func(json.RawMessage) error { return nil })
}
