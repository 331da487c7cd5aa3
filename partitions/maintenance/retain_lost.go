package maintenance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// errLost reports that retention cannot continue, although the log records the loss.
var errLost = errors.New("nothing is removed: commits before the limit are lost, so the states after them cannot be computed again")

// explained adds to an error about unreadable commits that a bridge in the log names them: verify
// then reports no damage, and repairing again would not help.
func (r *retainer) explained(ctx context.Context, err error) error {
	if !history.IsUnreadable(err) || ctx.Err() != nil {
		return err
	}
	m, lerr := r.f.Load(ctx, history.Moment{FromLog: true, Tolerant: true, Now: r.o.Lock.Now()})
	if lerr != nil {
		return err // the first error is about the same damage
	}
	defer m.Close()
	var lost []string
	for _, g := range m.Gaps() {
		if g.Bridged == 0 {
			return err
		}
		lost = append(lost, fmt.Sprintf("%s, recorded by commit %d", g, g.Bridged))
	}
	if len(lost) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s). ctl_backups set-aside starts a new backup, with a history that can be shortened, and keeps this one: %w",
		errLost, strings.Join(lost, "; "), err)
}
