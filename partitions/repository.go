package partitions

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
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

// createRepository writes README.txt and repository.json, where the store has just been
// found to do. Two hosts may do it at once: the first one's repository.json holds.
func createRepository(ctx context.Context, p *Partition, caps probe.Capabilities) (*Repository, error) {
	r := &Repository{
		Version: repositoryVersion, ID: randomHex(), Created: p.storeNow(ctx, time.Time{}).UTC(),
		Software: p.set.opt.Software, Dedup: "partition", Chunker: chunkerName, Capabilities: caps, Probed: p.prober(),
	}
	if p.set.opt.DedupPerBackup {
		r.Dedup = "backup"
	}
	if err := p.putIfAbsent(ctx, "README.txt", readme); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, err
	}
	b, err := r.encode()
	if err != nil {
		return nil, err
	}
	if err := p.putIfAbsent(ctx, repositoryKey, b); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, err
	}
	// Whoever won, and whatever came of an unclear answer: what is there holds.
	return await(ctx, func() (*Repository, error) { return readRepository(ctx, p.store) })
}

// encode is repository.json.
func (r *Repository) encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// putIfAbsent puts a small object once; ErrExist when there is one already, which
// after an unclear answer may be our own.
func (p *Partition) putIfAbsent(ctx context.Context, key string, b []byte) error {
	conditional := p.conditional()
	return await0(ctx, func() error {
		if !conditional {
			if _, err := p.store.Stat(ctx, key); err == nil {
				return &objstore.Error{Op: "put", Key: key, Err: objstore.ErrExist}
			} else if !errors.Is(err, objstore.ErrNotExist) {
				return err
			}
		}
		_, err := p.store.Put(ctx, key, bytes.NewReader(b), objstore.PutOptions{IfAbsent: conditional})
		return err
	})
}

// readSmall reads an object that is never large (JSON for the whole of something).
func readSmall(ctx context.Context, s objstore.Store, key string) ([]byte, objstore.Info, error) {
	const most = 1 << 20
	o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	defer o.Close()
	b, err := io.ReadAll(io.LimitReader(o, most+1))
	if err != nil {
		return nil, o.Info, fmt.Errorf("read %s: %w", key, err)
	}
	if len(b) > most {
		return nil, o.Info, fmt.Errorf("read %s: larger than %d bytes: it is not what this program wrote", key, most)
	}
	return b, o.Info, nil
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}
