package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// CycleKey is the key of the Cycle of a partition.
const CycleKey = "runs/verify-cycle.json"

// Cycle is how far a verification of all backups of a partition has come that is made in parts, in
// the order of their keys (docs/format.md 10). So each run verifies the backups that were verified
// least recently.
type Cycle struct {
	Version int       `json:"version"`
	Host    string    `json:"host"`           // of the last part
	Begun   time.Time `json:"begun,omitzero"` // of the first part, by the clock of its host; zero = not begun
	After   string    `json:"after"`          // path of the last backup that was verified
	Backups int       `json:"backups"`
	Failed  int       `json:"failed,omitempty"` // of them
}

// Put writes the object over that of the part before.
func (c *Cycle) Put(ctx context.Context, s objstore.Store) error {
	c.Version = Version
	b, err := history.MarshalState(c)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, CycleKey, bytes.NewReader(append(b, '\n')), objstore.PutOptions{})
	return err
}

// ReadCycle reads the object. It returns a cycle that has not begun if there is none, or if it cannot
// be understood: then the next part begins with the first backup.
func ReadCycle(ctx context.Context, s objstore.Store) (*Cycle, error) {
	b, _, err := ReadSmall(ctx, s, CycleKey)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return new(Cycle), nil
	case err != nil && IsStoreError(err):
		return nil, fmt.Errorf("read %s: %w", CycleKey, err)
	}
	c := new(Cycle)
	if err != nil || json.Unmarshal(b, c) != nil || c.Version != Version {
		return new(Cycle), nil
	}
	return c, nil
}
