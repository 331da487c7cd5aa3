package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A replay makes a backup out of the commands that another backup server received, command by
// command, with the times of then. It differs from a connection in this: records are a
// delta over what there is, whatever was reported; nothing is compared with what a
// client believes; a live record whose message never came is kept without a body.

// importPrefix begins Header.Connection of the commits of a replay; the line follows.
const importPrefix = "import:"

// NewReplay begins a replay of what source names.
func NewReplay(s *partitions.Set, source string) *Session {
	x := New(s, Who{Connection: importPrefix + "0", Client: source})
	x.importing = true
	x.unreadable = 1
	return x
}

// ReplayAt sets the line that comes next, and when it was given. Commits carry that time,
// never going back; their Clock is that of the replay.
func (x *Session) ReplayAt(line int, t time.Time) {
	x.who.Connection, x.who.At = importPrefix+strconv.Itoa(line), t
}

// ErrNotImported reports that somebody else has written to the backup, whose past can no longer change.
var ErrNotImported = errors.New("the backup has its own history: older mail can be imported only before the first sync")

// Replayed is the last line of a source that the backup has already; 0 when there is
// no backup yet. A backup that was written to in another way is ErrNotImported.
func (x *Session) Replayed(ctx context.Context, n repository.Name) (line int, err error) {
	defer x.enter()(&err)
	b, _, err := x.open(ctx, n)
	if err != nil {
		return 0, err
	}
	if err := b.Begin(ctx); err != nil {
		return 0, err
	}
	defer b.End()
	if b.Number() == 0 {
		return 0, nil
	}
	h, err := history.ReadHeader(ctx, b.Config().Store, b.Path(), b.Number())
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return 0, b.Failed(err)
	}
	text, ok := strings.CutPrefix(h.Connection, importPrefix)
	if ok && h.Client == x.who.Client {
		if line, err = strconv.Atoi(text); err == nil {
			return line, nil
		}
	}
	return 0, b.Failed(fmt.Errorf("in partition %s: %w", b.Config().Name, ErrNotImported))
}
