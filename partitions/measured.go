package partitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// Measured is what ctl_backups stat has measured of a backup. The daemon keeps it for the next stat,
// which decides whether it is still valid.
type Measured struct {
	Partition string `json:"partition"`
	Path      string `json:"path"`
	// Bytes and Changed are those of Known when the backup was measured.
	Bytes   int64     `json:"bytes"`
	Changed time.Time `json:"changed,omitzero"`
	// At is when, and Retention the retention that Compactable is for.
	At        time.Time     `json:"at"`
	Retention time.Duration `json:"retention,omitempty"`
	// The results are as in repository.Measured.
	Compressed   int64 `json:"compressed"`
	Uncompressed int64 `json:"uncompressed"`
	Compactable  int64 `json:"compactable"`
	Steady       bool  `json:"steady,omitempty"`
	Log          int64 `json:"log,omitempty"` // 0: an older program has measured the backup
	Checkpoints  int64 `json:"checkpoints,omitempty"`
	// First, Single and Every are as in repository.Reach; zero: unknown.
	First  time.Time `json:"first,omitzero"`
	Single int       `json:"single,omitempty"`
	Every  time.Time `json:"every,omitzero"`
}

const (
	// steadyAge is how long a measurement is used. Compaction may change a backup's part of packs
	// without a change of the backup.
	steadyAge = 7 * 24 * time.Hour
	// unsteadyAge is the same if retention may remove something meanwhile.
	unsteadyAge = time.Hour
)

// Valid reports whether m is valid now for a backup that the index knows.
func (m *Measured) Valid(k *Known, retention time.Duration, now time.Time) bool {
	if m == nil || k.Bytes == 0 || m.Bytes != k.Bytes || !m.Changed.Equal(k.Changed) || m.Retention != retention {
		return false
	}
	age, most := now.Sub(m.At), unsteadyAge
	if m.Steady {
		most = steadyAge
	}
	return age >= 0 && age < most
}

// KnownMeasured is Known with Measured.
func (s *Set) KnownMeasured(partition string) iter.Seq2[[]Known, error] {
	return func(yield func([]Known, error) bool) {
		for some, err := range s.Known(partition) {
			if err == nil {
				err = s.addMeasured(some)
			}
			if !yield(some, err) || err != nil {
				return
			}
		}
	}
}

// addMeasured adds earlier measurements of the backups.
func (s *Set) addMeasured(some []Known) error {
	return s.index.View(func(t *index.Txn) error {
		for i := range some {
			v, err := t.Get(index.MeasuredKey(some[i].Partition, some[i].Path))
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err == nil {
				some[i].Measured = new(Measured)
				err = json.Unmarshal(v, some[i].Measured)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// PutMeasured keeps measurements: a JSON array of Measured.
func (s *Set) PutMeasured(values []byte) error {
	var list []Measured
	if err := json.Unmarshal(values, &list); err != nil {
		return fmt.Errorf("measured: %w", err)
	}
	return s.index.Update(func(t *index.Txn) error {
		for _, m := range list {
			v, err := json.Marshal(m)
			if err == nil {
				err = t.Set(index.MeasuredKey(m.Partition, m.Path), v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
