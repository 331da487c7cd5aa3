package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The commands whose last run is recorded.
const (
	RunVerify  = "verify"
	RunQuick   = "verify-quick"
	RunPart    = "verify-part"
	RunCompact = "compact"
	RunDrill   = "drill"
	RunSeal    = "seal"
	// RunVerifySeals is verify --seals.
	RunVerifySeals = "verify-seals"
)

// The results of a Run.
const (
	RunOK         = "ok"
	RunFailed     = "failed"     // for some backups
	RunIncomplete = "incomplete" // it was interrupted, its time was over, or it could not begin (Error)
)

// Run is runs/<command>.json: the last run of a command over all backups of a partition
// (docs/format.md 10).
type Run struct {
	Version int       `json:"version"`
	Command string    `json:"command"`
	Host    string    `json:"host"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended"`
	Result  string    `json:"result"`
	Backups int       `json:"backups"`
	Failed  int       `json:"failed,omitempty"` // of them
	Error   string    `json:"error,omitempty"`
	Server  string    `json:"server,omitempty"` // that a drill has restored into; "" = files
	// What a drill has restored, and the seconds that it took.
	Messages int64   `json:"messages,omitempty"`
	Bytes    int64   `json:"bytes,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
}

// RunCommands returns the commands whose last run is recorded.
func RunCommands() []string {
	return []string{RunVerify, RunPart, RunQuick, RunCompact, RunDrill, RunSeal, RunVerifySeals}
}

// RunKey is the key of a Run.
func RunKey(command string) string { return "runs/" + command + ".json" }

// Put writes the object over that of the run before.
func (r *Run) Put(ctx context.Context, s objstore.Store) error {
	r.Version = Version
	b, err := history.MarshalState(r)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, RunKey(r.Command), bytes.NewReader(append(b, '\n')), objstore.PutOptions{})
	return err
}

// LastRun returns the last run of a command. The error is objstore.ErrNotExist if there was none.
func LastRun(ctx context.Context, s objstore.Store, command string) (*Run, error) {
	key := RunKey(command)
	b, _, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, err
	}
	r := new(Run)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%s has version %d, this program supports version %d: %w", key, r.Version, Version, ErrVersion)
	}
	return r, nil
}
