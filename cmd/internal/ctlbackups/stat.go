package ctlbackups

import (
	"fmt"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// stat prints the size of backups, and the part in use.
func stat(c *command) error {
	backups := inBucket(c.chosen())
	if c.many() && !c.fromBucket {
		backups = c.inIndex("stat")
	}
	s := &measuring{retention: c.bucket.Conf.Duration("backup_retention")}
	defer s.flush(c)
	return sideBySide(c, atOnce, backups, func(c *command, b inList) error {
		m, err := s.measured(c, b)
		if err != nil {
			return fmt.Errorf("%s: %w", label(b.Found), err)
		}
		if b.indexed && m.Compressed == 0 {
			return nil // it is gone
		}
		holds, err := c.held(b.Found, m.Held)
		if err != nil {
			return fmt.Errorf("%s: %w", label(b.Found), err)
		}
		return c.printStat(b.Found, m, holds)
	})
}

func (c *command) printStat(f *repository.Found, m repository.Measured, holds []repository.Hold) error {
	ratio, utilisation := percent(m.Compressed, m.Uncompressed), percent(m.Compactable, m.Uncompressed)
	changed := "[unknown]"
	if !m.Time.IsZero() {
		changed = timespec.Text(m.Time)
	}
	if !c.structured() {
		return c.row(holds, "%s\t%s\t%s\t%s\t%6.1f%%\t%6.1f%%\t%25s\t%25s", label(f),
			c.size(m.Compressed), c.size(m.Uncompressed), c.size(m.Compactable), ratio, utilisation, changed, changed)
	}
	return c.object(struct {
		UserID       string            `json:"userid,omitempty"`
		Path         string            `json:"fname"`
		Compressed   int64             `json:"compressed"`
		Uncompressed int64             `json:"uncompressed"`
		Compactable  int64             `json:"compactable"`
		Ratio        float64           `json:"compression_ratio"`
		Utilisation  float64           `json:"utilisation_ratio"`
		Start        string            `json:"last_start_time"`
		End          string            `json:"last_end_time"`
		Holds        []repository.Hold `json:"holds,omitempty"`
	}{userID(f), place(f), m.Compressed, m.Uncompressed, m.Compactable, ratio, utilisation, changed, changed, holds})
}

func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
