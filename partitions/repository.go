package partitions

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

// repositoryVersion is the layout that this program reads and writes.
const repositoryVersion = 1

const repositoryKey = "repository.json"

// Repository is repository.json: what holds for the whole partition.
type Repository struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"` // 16 random bytes, hex
	Created  time.Time `json:"created"`
	Software string    `json:"software"`
	Dedup    string    `json:"dedup"` // partition or backup: who shares messages
	Chunker  string    `json:"chunker"`
	// Capabilities are what Probed found, when the repository was made or when more was
	// found than before.
	Capabilities probe.Capabilities `json:"capabilities"`
	Probed       prober             `json:"probed,omitzero"`
}

// readme is README.txt: the essence of docs/bucket-restore.md.
//
//go:embed README.bucket.txt
var readme []byte

func readRepository(ctx context.Context, s objstore.Store) (*Repository, error) {
	b, _, err := readSmall(ctx, s, repositoryKey)
	if err != nil {
		return nil, err
	}
	return decodeRepository(b)
}

// RepositoryID asks a partition for the id of its repository; "" when it has none yet.
func RepositoryID(ctx context.Context, c Config) (string, error) {
	r, err := readRepository(ctx, c.Store)
	if errors.Is(err, objstore.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return r.ID, nil
}

func decodeRepository(b []byte) (*Repository, error) {
	var r Repository
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", repositoryKey, history.ErrCorrupt, err)
	}
	if r.Version != repositoryVersion {
		return nil, fmt.Errorf("%s has version %d; this program knows version %d: %w", repositoryKey, r.Version, repositoryVersion, errVersion)
	}
	return &r, nil
}

// encode is repository.json.
func (r *Repository) encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// prober is what a finding depends on besides the store itself: by which way the store
// was reached, and by what program.
type prober struct {
	Location string `json:"location"`
	Software string `json:"software"`
}

// chunkerName stands in repository.json: who reads it knows how messages were cut.
const chunkerName = cdc.Name
