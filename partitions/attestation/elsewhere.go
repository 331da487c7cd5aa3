package attestation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// repositories are the partitions of this server by the id of their repository, read once.
type repositories struct {
	mu   sync.Mutex
	read bool
	byID map[string]repository.Config
}

// at returns the partition with an id. ok is false if it is none of this server.
func (r *repositories) at(ctx context.Context, all []repository.Config, id string) (p repository.Config, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.read {
		r.byID = map[string]repository.Config{}
		for _, p := range all {
			info, err := repository.ReadInfo(ctx, p.Store)
			if failedRequest(err) {
				return p, false, err
			}
			if err == nil {
				r.byID[info.ID] = p
			}
		}
		r.read = true
	}
	p, ok = r.byID[id]
	return p, ok, nil
}

// continued returns a finding if a log has ended with a seal for another partition of this server, and the log there is not
// its continuation: it must have all that this log has. Readers believe the seal, so a forged one would put another history
// in use. e has the state of this log. confirmed is false if there is nothing to compare.
func (j *judge) continued(ctx context.Context, e *Entry, f *repository.Found) (confirmed bool, finding *Finding, err error) {
	tip, h, seal, err := withID(f.Listed(), e.ID).TipHeader(ctx, 0)
	if err != nil || seal == nil || tip.Hash == "" {
		return false, nil, tolerable(err)
	}
	there, ok, err := j.ids.at(ctx, j.all, seal.To)
	if err != nil || !ok || there.Name == j.p.Name {
		return false, nil, err
	}
	if _, err := repository.FindPath(ctx, there, e.Backup); err != nil {
		if errors.Is(err, repository.ErrNoBackup) {
			err = nil // half moved, or removed since, which the lists there show
		}
		return false, nil, tolerable(err)
	}
	other := &judge{p: there, all: j.all, now: j.now, unsure: j.unsure, retains: j.retains, keep: j.keep}
	for _, c := range []Head{{tip.Number, made(h)}, {tip.Number - 1, made(h)}} {
		was := e.with(e.state())
		was.Number, was.Hash, was.Time, was.Recent, was.MovedTo = c.Number, tip.Hash, c.Time, e.Recent, ""
		if c.Number < tip.Number {
			was.Hash = h.Prev
		}
		if c.Number == 0 || was.Hash == "" || was.First > was.Number {
			continue
		}
		v, err := other.entry(ctx, was, nil)
		if err != nil {
			return false, nil, err
		}
		if v.finding != nil {
			out := found(e, Rewritten, "it has moved to partition %s by commit %d, and the backup there has another history: %s", there.Name, tip.Number, v.finding.Text)
			return false, out.finding, nil
		}
	}
	return true, nil, nil
}

// continuedSince is continued for a log that has grown since the list, or whose continuation no list has confirmed.
func (j *judge) continuedSince(ctx context.Context, e *Entry, f *repository.Found) (*Finding, error) {
	s, err := withID(f.Listed(), e.ID).Log().Survey(ctx)
	if err != nil || s.Newest == e.Number && (e.MovedTo == "" || e.Confirmed) || s.Unfinished() != nil {
		return nil, tolerable(err)
	}
	now := e.with(e.state())
	now.Recent, now.Lost = e.Recent, holes(s, s.Newest)
	if s.First != now.First {
		now.First, now.Base = s.First, nil
	}
	_, out, err := j.continued(ctx, now, f)
	return out, err
}

// tolerable drops an error that is not one of the store: others report a commit that cannot be read.
func tolerable(err error) error {
	if history.IsUnreadable(err) || isAbsent(err) {
		return nil
	}
	return err
}

func isAbsent(err error) bool { return errors.Is(err, objstore.ErrNotExist) }

// outage counts backups in a row whose requests have failed.
type outage struct{ n int }

// unansweredMost is how many backups in a row may fail before the partition counts as unreadable.
const unansweredMost = 32

// count returns an error if too many backups in a row have failed.
func (o *outage) count(p repository.Config, err error) error {
	if !failedRequest(err) {
		o.n = 0
		return nil
	}
	if o.n++; o.n == unansweredMost {
		return repository.UnaskedError{Partition: p, Err: err}
	}
	return nil
}

// failedRequest reports whether an error is about the store, and not about a backup.
func failedRequest(err error) bool {
	return err != nil && repository.IsStoreError(err) && !isAbsent(err)
}

// floor is a time in whole seconds, which takes less space in a list.
func floor(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
