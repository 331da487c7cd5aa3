package erasure

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Watch finds out which backups of a partition have an erasure of history that is not done. It reads a record again only
// if that has changed, so that many calls cost one list each.
type Watch struct {
	p    repository.Config
	here func() time.Time

	mu    sync.Mutex
	known map[string]watched // by key
}

// watched is a record as it was read.
type watched struct {
	etag    string
	backup  string // path; "" = the record is not about history, or nothing of it is left in the backup
	unclear bool   // it may be about any backup
}

// NewWatch returns a Watch. here returns the time of this host.
func NewWatch(p repository.Config, here func() time.Time) *Watch {
	return &Watch{p: p, here: here, known: map[string]watched{}}
}

// OfHistory reports whether an erasure of the history of a backup is open. A record that cannot be read may be one, of
// any backup. But a sweep puts its record before it leaves objects to daemons, so half a day later that does not matter:
// nobody's retention waits for a person.
func (w *Watch) OfHistory(ctx context.Context, f *repository.Found) (open bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for info, err := range w.p.Store.List(ctx, repository.ErasedPrefix, "") {
		if err != nil {
			return false, err
		}
		id, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, repository.ErasedPrefix), ".json")
		if !ok {
			continue
		}
		is, ok := w.known[info.Key]
		if !ok || is.etag != info.ETag || info.ETag == "" {
			if is, err = w.read(ctx, id); err != nil {
				return false, err
			}
			w.known[info.Key] = is
		}
		if is.backup == f.Path {
			return true, nil
		}
		if is.unclear {
			if is, err := recent(ctx, w.p, info.Modified, w.here); err != nil || is {
				return is, err
			}
		}
	}
	return false, nil
}

func (w *Watch) read(ctx context.Context, id string) (watched, error) {
	e, info, err := repository.ReadErasure(ctx, w.p.Store, id)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return watched{}, nil
	case err != nil && (history.IsDamage(err) || !repository.IsStoreError(err)):
		return watched{etag: info.ETag, unclear: true}, nil
	case err != nil:
		return watched{}, err
	case !e.InPart() || e.State == repository.ErasureDone, !e.Cancelled.IsZero():
		return watched{etag: info.ETag}, nil
	}
	return watched{etag: info.ETag, backup: e.Backup}, nil
}
