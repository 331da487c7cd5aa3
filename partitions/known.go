package partitions

import (
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
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
	// Unreadable means that backup.json could not be read at the last census. Name is then as in Path.
	Unreadable bool `json:"unreadable,omitempty"`
	// Client is the mail server that was last in contact with the backup; "" = unknown. Contact is
	// since when the backup may miss changes of its mail server: a server that is in contact reports
	// every change. Zero = unknown.
	Client  string    `json:"client,omitempty"`
	Contact time.Time `json:"contact,omitzero"`
	// Refused means that no mail server has reached the backup since then.
	Refused *repository.Refusal `json:"refused,omitempty"`
	// Measured is what ctl_backups stat has measured earlier, if that was asked for.
	Measured *Measured `json:"measured,omitempty"`

	// id is the number in the keys of the index, if the index has the backup in this partition.
	id      uint64
	indexed bool
}

// knownAtOnce bounds the backups that Known holds in memory.
const knownAtOnce = 512

// Known yields the backups of a partition in the order of their keys in the bucket, some at a time.
// The error is ErrNoCensus if there was no census; see Counted for its age. No view of the index is
// open while the caller has them.
func (s *Set) Known(partition string) iter.Seq2[[]Known, error] { return s.known(partition, false) }

// known is Known, if partial is set also without a census: backups that this index does not have are
// then missing.
func (s *Set) known(partition string, partial bool) iter.Seq2[[]Known, error] {
	return func(yield func([]Known, error) bool) {
		k := knownPages{partition: partition}
		err := s.index.View(func(t *index.Txn) (err error) {
			if k.census, err = lastCensus(t, partition); partial && errors.Is(err, ErrNoCensus) {
				err = nil
			}
			if err == nil {
				k.servers, err = readReach(t)
			}
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
