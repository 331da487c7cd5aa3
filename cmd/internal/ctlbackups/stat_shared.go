package ctlbackups

import (
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// sharedSize is the part of the bodies of a backup that other backups use too, as stat --shared prints it.
type sharedSize struct {
	Bytes   int64     `json:"shared"`
	Backups int       `json:"shared_with"`
	Counted time.Time `json:"shared_counted"`
	Unread  int       `json:"shared_unread,omitempty"` // other backups
}

// sharedOf measures what a backup shares; nil without --shared.
func (c *command) sharedOf(f *repository.Found) (*sharedSize, error) {
	if !c.shared {
		return nil, nil
	}
	s, err := collection.MeasureShare(c.ctx, f, c.usesDir())
	if err != nil {
		return nil, fmt.Errorf("shared: %w", err)
	}
	for _, b := range s.Unread {
		cli.Fprintf(c.err, "ctl_backups: %s: more may be shared, because another backup cannot be read: %v\n", label(f), b)
	}
	return &sharedSize{s.Bytes, s.Backups, s.Counted.UTC().Truncate(time.Second), s.Unreadable}, nil
}

// reported returns an error if a line has reported that another backup cannot be read.
func (s *sharedSize) reported() error {
	if s != nil && s.Unread > 0 {
		return cli.ErrReported
	}
	return nil
}

// withShared adds the column of shared bytes to cells of the table of stat.
func (c *command) withShared(cells []string, text string) []string {
	if !c.shared {
		return cells
	}
	return slices.Insert(cells, 1, text)
}
