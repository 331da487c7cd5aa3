package repository

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack/cdc"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Version is the layout that this program reads and writes.
const Version = 1

// Key is the key of repository.json.
const Key = "repository.json"

// Info is repository.json: the parameters of a whole partition.
type Info struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"` // 16 random bytes, hex
	Created  time.Time `json:"created"`
	Software string    `json:"software"`
	Dedup    string    `json:"dedup"` // scope of deduplication: partition or backup
	Chunker  string    `json:"chunker"`
	// Capabilities are the features of the store that the probe found when the repository
	// was created, or later if it found more. Probed describes that probe.
	Capabilities probe.Capabilities `json:"capabilities"`
	Probed       Prober             `json:"probed,omitzero"`
}

// Readme is README.txt: the essence of docs/bucket-restore.md.
//
//go:embed README.bucket.txt
var Readme []byte

// ReadInfo reads repository.json. Its errors are those of ReadBackupInfo.
func ReadInfo(ctx context.Context, s objstore.Store) (*Info, error) {
	b, _, err := ReadSmall(ctx, s, Key)
	if err != nil {
		return nil, err
	}
	return DecodeInfo(b)
}

// ID returns the id of a partition's repository, or "" if the partition has none yet.
func ID(ctx context.Context, c Config) (string, error) {
	r, err := ReadInfo(ctx, c.Store)
	if errors.Is(err, objstore.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return r.ID, nil
}

// DecodeInfo parses repository.json.
func DecodeInfo(b []byte) (*Info, error) {
	var r Info
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", Key, history.ErrCorrupt, err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%s has version %d, this program supports version %d: %w", Key, r.Version, Version, ErrVersion)
	}
	return &r, nil
}

// Encode returns repository.json.
func (r *Info) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// Prober is what the result of a probe depends on besides the store: the way to the
// store, and the program.
type Prober struct {
	Location string `json:"location"`
	Software string `json:"software"`
}

// Chunker is the value in repository.json. It names the algorithm that cuts messages.
const Chunker = cdc.Name
