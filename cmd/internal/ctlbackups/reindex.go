package ctlbackups

import (
	"context"
	"errors"
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// reindexedAtOnce is how many indexes are rebuilt at a time. While one waits for the disk,
// others read and decode.
const reindexedAtOnce = 4

// reindex rebuilds the index from the bucket. A running backupd does it, because only backupd
// can open the index; otherwise reindex does it here.
func reindex(c *command) error {
	do, end, err := c.reindexer()
	if err != nil {
		return err
	}
	defer end()
	return sideBySide(c, reindexedAtOnce, c.chosen(), func(c *command, f *repository.Found) error {
		err := inPlace("reindex", f)
		if err == nil {
			err = do(c.ctx, f)
		}
		if perr := c.status("reindex", f, err); perr != nil {
			return perr
		}
		return err
	})
}

func (c *command) reindexer() (do func(context.Context, *repository.Found) error, end func(), err error) {
	socket := c.bucket.Conf.String("backup_control_socket")
	ask := func(ctx context.Context, f *repository.Found) error {
		r, err := control.Ask(ctx, socket, control.Request{Op: "reindex", Path: f.Path})
		if err == nil && r.Error != "" {
			err = errors.New(r.Error)
		}
		return err
	}
	if _, err := control.Ask(c.ctx, socket, control.Request{Op: "ping"}); err == nil {
		return ask, func() {}, nil
	} else if !errors.Is(err, control.ErrNoDaemon) {
		return nil, nil, err
	}
	set, end, err := c.openHere()
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, f *repository.Found) error { return set.Reindex(ctx, f.Name()) }, end, nil
}

// openHere opens the index of this host, which no daemon has open.
func (c *command) openHere() (set *partitions.Set, end func(), err error) {
	if os.Geteuid() == 0 && c.open == nil { // tests own their files
		return nil, nil, errors.New("no backupd is running here, and files that root makes in the index would lock the cyrus user out: run this as the cyrus user")
	}
	cli.LimitIndexMemory(c.bucket.Conf.Size("backup_memory_limit"))
	x, err := index.Open(c.bucket.Conf.String("backup_index_path"), index.Options{Reserve: c.bucket.Conf.Size("backup_index_reserve")})
	if err != nil {
		return nil, nil, err
	}
	set, err = partitions.Open(partitions.Options{Partitions: c.bucket.Partitions, Index: x, Host: c.host, Now: c.clock, NoCheckpoints: true, NoProbe: true})
	if err != nil {
		return nil, nil, errors.Join(err, x.Close())
	}
	return set, func() {
		if err := errors.Join(set.Close(), x.Close()); err != nil {
			cli.Fprintf(c.err, "ctl_backups: close the index: %v\n", err)
		}
	}, nil
}
