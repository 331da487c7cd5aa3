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

// A replay builds a backup from the commands that another backup server received, one by one
// and with their original times. It differs from a connection in three ways. Records are
// always a delta against the existing state, whatever was reported. Nothing is compared with
// the state that a client assumes. A live record whose message never arrived is kept without a
// body.

// importPrefix begins Header.Connection in the commits of a replay. The line number follows.
const importPrefix = "import:"

// NewImport begins a replay of the named source.
func NewImport(s *partitions.Set, source string) *Session {
	x := New(s, Who{Connection: importPrefix + "0", Client: source})
	x.importing = true
	x.unreadable = 1
	return x
}

// ImportAt sets the number of the next line and the time of its command. Commits carry that
// time, and their times never go back. Their Clock is the time of the replay.
func (x *Session) ImportAt(line int, t time.Time) {
	x.who.Connection, x.who.At = importPrefix+strconv.Itoa(line), t
}

// ErrNotImported reports that another writer has already written to the backup. Its past can
// no longer change.
var ErrNotImported = errors.New("the backup has its own history: older mail can be imported only before the first sync")

// Imported returns the last line of the source that the backup already contains, or 0 if there
// is no backup yet. It returns ErrNotImported if the backup was written in any other way.
func (x *Session) Imported(ctx context.Context, n repository.Name) (line int, err error) {
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
