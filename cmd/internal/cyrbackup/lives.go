package cyrbackup

import (
	"fmt"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// readLives reads the lives of the backup: a user's backup may have several.
func (c *command) readLives() (err error) {
	c.lives = history.Lives{{Number: 1}}
	if c.found.Info.Kind == repository.KindUser {
		c.lives, err = history.LivesOf(c.mem)
	}
	return err
}

// lifeOf returns the number of the life that a mailbox belongs to; 0 if there is only one.
func (c *command) lifeOf(m *history.MailboxState) int {
	if len(c.lives) < 2 {
		return 0
	}
	return c.lives.Of(m, c.bucket.Conf.String("deletedprefix")).Number
}

// lifeText returns the heading of a life.
func (c *command) lifeText(l history.Life) string {
	text := fmt.Sprintf("life %d", l.Number)
	if l.Number > 1 {
		text += fmt.Sprintf(", from %s (chunk %d)", timespec.Text(l.Began), l.First)
	}
	if last, ok := c.lives.Last(l.Number); ok && last > 0 {
		text += fmt.Sprintf(", up to chunk %d; restore --life %d restores it", last, l.Number)
	}
	return text
}
