package partitions

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ownObjects is what a list shows of a backup, as of one commit. A daemon adds up what it puts
// itself.
type ownObjects struct {
	Number  uint64    `json:"number,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`  // of the log, checkpoints and blocks; 0 = unknown
	Changed time.Time `json:"changed,omitzero"` // when the mail server last changed something; zero = never
	Since   time.Time `json:"since,omitzero"`   // when the index got the backup
}

// counted is what a census has found about a backup.
type counted struct {
	Kind string     `json:"kind"`
	Name string     `json:"name"`
	Own  ownObjects `json:"own"`
	Seen time.Time  `json:"seen"`           // start of the census
	Held bool       `json:"held,omitempty"` // it has holds, or too many objects to know
	// Unreadable means that backup.json could not be read. Kind and Name are then those in the path.
	Unreadable bool `json:"unreadable,omitempty"`
}

// applied is what a commit contains, for noteOwn.
type applied struct {
	mail   bool // data from a mail server
	blocks bool // refers to record blocks, which other objects contain
	// added and removed are records, as in history.Replayer.
	added, removed int
	resyncs        int // mailboxes that began to wait for their mail server
}

func (a *applied) note(e history.Event) {
	if !history.FromTool(e) {
		a.mail = true
	}
	if _, ok := e.(*history.RecordBlocksEvent); ok {
		a.blocks = true
	}
	if r, ok := e.(*history.ResyncEvent); ok && r.Reason != "" {
		a.resyncs++
	}
}

// noteOwn adds a commit to Own, or leaves it behind Number, that is, unknown: if it was unknown
// before, or the size of the objects or the time of the commit is uncertain.
func (e *entry) noteOwn(t *index.Txn, path string, h history.Header, size int64, a applied, now time.Time) error {
	own := e.Own
	if !own.isOf(h.Number - 1) {
		c, err := readCounted(t, e.Partition, path)
		if err != nil || c == nil {
			return err
		}
		c.Own.Since = own.Since
		own = c.Own
	}
	if !own.isOf(h.Number-1) || e.Rebuilding || size == 0 || a.blocks || !history.Plausible(h, now) {
		return nil
	}
	own.Number, own.Bytes = h.Number, own.Bytes+size
	if a.mail {
		own.Changed = h.Time
	}
	e.Own = own
	return nil
}

// isOf reports whether the values are known, as of commit n.
func (o ownObjects) isOf(n uint64) bool { return o.Number == n && o.Bytes > 0 }

// readCounted returns what the last census has found about a backup, or nil.
func readCounted(t *index.Txn, partition, path string) (*counted, error) {
	v, err := t.Get(index.SummaryKey(partition, path))
	if errors.Is(err, index.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := new(counted)
	return c, json.Unmarshal(v, c)
}
