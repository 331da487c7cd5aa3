package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// CensusAge is how long the index is trusted to know all backups. Other hosts, and tools on
	// them, may create and remove backups meanwhile.
	CensusAge = time.Hour
	// countedAtOnce is how many backups a census reads at a time, beside the daemon's clients.
	countedAtOnce = 8
	// countedTogether is how many of them it writes to the index in one transaction.
	countedTogether = 200
	// countFailsMost is how many backups in a row may fail before the partition counts as unreadable.
	countFailsMost = 32
)

// censuses is the state of the censuses of a Set.
type censuses struct {
	running atomic.Bool
	mu      sync.Mutex // held while marks change
	forgot  int        // calls of ForgetCensus
}

// countStart is the beginning of a count of all backups. The zero value means that none was made.
type countStart struct {
	at     time.Time
	forgot int // of censuses: the count does not cover what changed after it was higher
}

func (s *Set) beginCount() countStart {
	s.censuses.mu.Lock()
	defer s.censuses.mu.Unlock()
	return countStart{at: s.opt.Now(), forgot: s.censuses.forgot}
}

// BeginCensus starts, in the background, to look for all backups in the buckets, unless that is
// running. Known works after it. It lists the buckets, and reads the newest commits of the backups
// that the index does not know.
func (s *Set) BeginCensus() {
	if s.life.Err() != nil || !s.censuses.running.CompareAndSwap(false, true) {
		return
	}
	s.work.Go(func() {
		defer s.censuses.running.Store(false)
		if err := s.census(s.life); err != nil && s.life.Err() == nil {
			s.log.Info("the backups in the buckets could not be counted; ctl_backups list and stat read the buckets themselves", "err", err)
		}
	})
}

// ForgetCensus makes Known fail until the next census that begins later: a tool has created or
// removed backups.
func (s *Set) ForgetCensus() error {
	s.censuses.mu.Lock()
	defer s.censuses.mu.Unlock()
	s.censuses.forgot++
	return s.index.Update(func(t *index.Txn) error {
		for _, p := range s.parts {
			if err := forgetCensus(t, p.name); err != nil {
				return err
			}
		}
		return nil
	})
}

func forgetCensus(t *index.Txn, partition string) error {
	there, err := t.Has(index.CensusKey(partition))
	if err != nil || !there {
		return err
	}
	return t.Delete(index.CensusKey(partition))
}

// census writes what the buckets contain to the index. A mark shows at its end that nothing is
// missing. The mark of the census before remains until then. A backup that cannot be read does not stop
// it.
func (s *Set) census(ctx context.Context) error {
	begun := s.beginCount()
	start := begun.at
	var batch []found
	failed := 0
	for f := range inorder.Map(ctx, inorder.Limit[browsed]{Count: countedAtOnce}, s.browsed(ctx), func(ctx context.Context, _ <-chan struct{}, b browsed) found {
		return s.count(ctx, b, start)
	}) {
		if err := ctx.Err(); err != nil {
			return err // whatever f says of its backup
		}
		if f.err == nil {
			failed = 0
		} else if failed++; f.path == "" || failed == countFailsMost {
			return f.err
		}
		if batch = append(batch, f); len(batch) == countedTogether {
			if err := s.putCounted(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := errors.Join(ctx.Err(), s.putCounted(batch)); err != nil {
		return err
	}
	if err := s.endCensus(start); err != nil {
		return err
	}
	if err := s.forgetNames(); err != nil {
		return err
	}
	defer s.recountOwed()
	return s.markCensus(begun)
}

// browsed is a backup in the bucket, or an error.
type browsed struct {
	f   *repository.Found
	err error
}

func (s *Set) browsed(ctx context.Context) iter.Seq[browsed] {
	return func(yield func(browsed) bool) {
		for f, err := range repository.BrowseAll(ctx, s.Configs()) {
			if !yield(browsed{f, err}) {
				return
			}
		}
	}
}

// found is what the census has found out about a backup.
type found struct {
	partition, path string
	counted
	err error // path "": of the partition; otherwise the store failed, and only the path is certain
}

// count reads what the index does not know about a backup. A backup that cannot be read is known to
// exist, and ctl_backups list reads it itself.
func (s *Set) count(ctx context.Context, b browsed, start time.Time) found {
	switch {
	case b.err != nil && b.f == nil:
		return found{err: b.err}
	case b.err != nil:
		return unreadable(b, start)
	}
	out := found{partition: b.f.Partition.Name, path: b.f.Path, counted: counted{Kind: b.f.Info.Kind, Name: b.f.Info.Name, Seen: start, Held: b.f.ListedHolds()}}
	e, err := s.readEntry(b.f.Path)
	if err == nil && e != nil && e.Partition == out.partition && !e.Rebuilding && e.Own.isOf(e.Number) {
		out.Own = e.Own
		return out
	}
	sum, err := b.f.Listed().Summarize(ctx, s.opt.Now())
	switch {
	case history.IsDamage(err) || sum.Doubt != "":
	case repository.IsStoreError(err) || ctx.Err() != nil:
		out.err = err
	case err != nil: // such as a newer version
	default:
		out.Own = ownObjects{Number: sum.Number, Bytes: sum.Bytes, Changed: sum.Changed}
	}
	return out
}

// unreadable is a backup whose backup.json cannot be read. Its path has its name, if that is not too long.
func unreadable(b browsed, start time.Time) found {
	out := found{partition: b.f.Partition.Name, path: b.f.Path, counted: counted{Seen: start, Held: b.f.ListedHolds(), Unreadable: true}}
	out.Kind, _, _ = strings.Cut(b.f.Path, "/")
	out.Name = nameIn(b.f.Path)
	if repository.IsStoreError(b.err) {
		out.err = b.err
	}
	return out
}

func (s *Set) putCounted(batch []found) error {
	return s.index.Update(func(t *index.Txn) error {
		for _, f := range batch {
			v, err := json.Marshal(f.counted)
			if err != nil {
				return err
			}
			if err := t.Set(index.SummaryKey(f.partition, f.path), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// endCensus removes what only earlier censuses have found.
func (s *Set) endCensus(start time.Time) error {
	for _, p := range s.parts {
		if err := s.index.UpdateLong(func(t *index.Txn) error {
			for kv, err := range t.Scan(index.SummaryPrefix(p.name), nil) {
				if err != nil {
					return err
				}
				var c counted
				if err := json.Unmarshal(kv.Value, &c); err != nil {
					return err
				}
				if c.Seen.Equal(start) {
					continue
				}
				path := strings.TrimSuffix(string(kv.Key[len(index.SummaryPrefix(p.name)):]), "/")
				if err := errors.Join(t.Delete(kv.Key), t.Delete(index.MeasuredKey(p.name, path)), forgetContact(t, p.name, path)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// markCensus marks a census as complete, unless ForgetCensus was called meanwhile.
func (s *Set) markCensus(begun countStart) error {
	s.censuses.mu.Lock()
	defer s.censuses.mu.Unlock()
	if s.censuses.forgot != begun.forgot {
		return nil
	}
	return s.index.Update(func(t *index.Txn) error {
		for _, p := range s.parts {
			if err := setCensus(t, p.name, begun.at); err != nil {
				return err
			}
		}
		return nil
	})
}

// setCensus records that the index knows all backups of a partition as of a time.
func setCensus(t *index.Txn, partition string, at time.Time) error {
	mark, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return t.Set(index.CensusKey(partition), mark)
}

// ErrNoCensus means that the index may not know all backups.
var ErrNoCensus = errors.New("the index may not know all backups yet")

// Counted returns when the oldest of the partitions' last censuses began. The error is ErrNoCensus
// if a partition had none. A census that is older than CensusAge, or later than now, is to be
// repeated.
func (s *Set) Counted() (oldest time.Time, err error) {
	err = s.index.View(func(t *index.Txn) error {
		for _, p := range s.parts {
			at, err := lastCensus(t, p.name)
			if err != nil {
				return err
			}
			if oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
		return nil
	})
	return oldest, err
}

// lastCensus returns when the last census of a partition began. The error is ErrNoCensus if there
// was none.
func lastCensus(t *index.Txn, partition string) (at time.Time, err error) {
	v, err := t.Get(index.CensusKey(partition))
	if errors.Is(err, index.ErrNotFound) {
		return at, ErrNoCensus
	}
	if err == nil {
		err = json.Unmarshal(v, &at)
	}
	return at, err
}
