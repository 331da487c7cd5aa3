package partitions

import (
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// Known is what the index knows about a backup: the view of this host. Commits of other hosts are
// in it once this host has opened the backup again, or after the next census.
type Known struct {
	Partition string `json:"partition"`
	Path      string `json:"path"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Bytes and Changed are as in repository.Summary. Bytes 0: the backup exists, and the index
	// knows nothing else.
	Bytes   int64     `json:"bytes,omitempty"`
	Changed time.Time `json:"changed,omitzero"`
	// Held means that the backup had a holds.json, or may have had one, at the last census.
	Held bool `json:"held,omitempty"`
	// Measured is what ctl_backups stat has measured earlier, if that was asked for.
	Measured *Measured `json:"measured,omitempty"`
}

// knownAtOnce bounds the backups that Known holds in memory.
const knownAtOnce = 512

// Known yields the backups of a partition in the order of their keys in the bucket, some at a time.
// The error is ErrNoCensus if there was no census; see Counted for its age. No view of the index is
// open while the caller has them.
func (s *Set) Known(partition string) iter.Seq2[[]Known, error] {
	return func(yield func([]Known, error) bool) {
		k := knownPages{partition: partition}
		err := s.index.View(func(t *index.Txn) (err error) {
			k.census, err = lastCensus(t, partition)
			return err
		})
		for err == nil && !k.end {
			var page []Known
			err = s.index.View(func(t *index.Txn) (err error) {
				page, err = k.next(t)
				return err
			})
			if err == nil && len(page) > 0 && !yield(page, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}
