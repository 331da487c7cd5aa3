package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// RepositoryOptions are the parameters for a new repository.json.
type RepositoryOptions struct {
	Software       string
	DedupPerBackup bool
	Now            func() time.Time
}

// RepairRepository rebuilds the repository.json of a partition that has backups, if it is
// missing or damaged. done describes the repair; it is "" if there was nothing to do. The
// new object has the old id if the damaged object or a seal of a moved backup still has it.
func RepairRepository(ctx context.Context, p repository.Config, all []repository.Config, o RepositoryOptions) (done string, err error) {
	old, info, err := repository.ReadSmall(ctx, p.Store, repository.Key)
	if repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist) {
		return "", fmt.Errorf("partition %s: %w", p.Name, err)
	}
	if err == nil {
		r, derr := repository.DecodeInfo(old)
		if errors.Is(derr, repository.ErrVersion) {
			return "", fmt.Errorf("partition %s: %w", p.Name, derr)
		}
		if derr == nil && sound(r) {
			return "", nil
		}
	}
	path, err := repository.NextBackup(ctx, p.Store, "")
	if err != nil || path == "" {
		return "", err // backupd creates it in an empty partition
	}
	r, err := newRepository(ctx, p, all, o, old)
	if err != nil {
		return "", fmt.Errorf("partition %s (%s): %s cannot be rebuilt: %w", p.Name, p.Location, repository.Key, err)
	}
	b, err := r.Encode()
	if err != nil {
		return "", err
	}
	opt := objstore.PutOptions{IfAbsent: true}
	if info.ETag != "" {
		opt = objstore.PutOptions{IfMatch: info.ETag}
	}
	if _, err := p.Store.Put(ctx, repository.Key, bytes.NewReader(b), opt); err != nil {
		return "", fmt.Errorf("partition %s: %w", p.Name, err)
	}
	return fmt.Sprintf("%s was rebuilt with the id %s; every backupd now reads the partition's backups again", repository.Key, r.ID), nil
}

// sound reports whether every value is valid.
func sound(r *repository.Info) bool {
	id, err := hex.DecodeString(r.ID)
	return err == nil && len(id) == 16 && (r.Dedup == "partition" || r.Dedup == "backup") && r.Chunker == repository.Chunker
}

var (
	idInRemains    = regexp.MustCompile(`"id":\s*"([0-9a-f]{32})"`)
	dedupInRemains = regexp.MustCompile(`"dedup":\s*"backup"`)
)

func newRepository(ctx context.Context, p repository.Config, all []repository.Config, o RepositoryOptions, old []byte) (*repository.Info, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	caps, err := probe.Run(ctx, p.Store, o.Now)
	if err != nil {
		return nil, err
	}
	r := &repository.Info{Version: repository.Version, Software: o.Software, Dedup: "partition", Chunker: repository.Chunker, Capabilities: caps,
		Probed: repository.Prober{Location: p.Location, Software: o.Software}, Created: o.Now().UTC()}
	if o.DedupPerBackup || dedupInRemains.Match(old) {
		r.Dedup = "backup"
	}
	r.ID, err = formerID(ctx, p, all, old)
	if err == nil && r.ID == "" {
		r.ID = repository.NewID()
	}
	return r, err
}

var idInList = regexp.MustCompile(`(?m)^trusted comment: backupd list [^\n]* repository=([0-9a-f]{32}) `)

// listedRepository returns the id of the repository in the comment of the newest signed list (docs/format.md 11), whether
// the signature is valid or not; "" = there is none.
func listedRepository(ctx context.Context, s objstore.Store) (string, error) {
	newest := ""
	for info, err := range s.List(ctx, "attestations/", "") {
		if err != nil {
			return "", err
		}
		if strings.HasSuffix(info.Key, ".minisig") {
			newest = info.Key
		}
	}
	if newest == "" {
		return "", nil
	}
	b, _, err := repository.ReadSmall(ctx, s, newest)
	if repository.IsStoreError(err) {
		return "", err
	}
	if m := idInList.FindSubmatch(b); m != nil && err == nil {
		return string(m[1]), nil
	}
	return "", nil
}

// formerID returns the id that the repository had, or "" if it is unknown.
func formerID(ctx context.Context, p repository.Config, all []repository.Config, old []byte) (string, error) {
	var guess []string
	if m := idInRemains.FindSubmatch(old); m != nil {
		guess = append(guess, string(m[1]))
	}
	elsewhere, err := repositoryIDs(ctx, all)
	if err != nil {
		return "", err
	}
	for f, err := range repository.Browse(ctx, p) {
		if repository.IsStoreError(err) && !errors.Is(err, repository.ErrIncomplete) {
			return "", err
		}
		if err != nil {
			continue
		}
		to, goesOn, err := lastSeal(ctx, f)
		switch {
		case err != nil:
			return "", err
		case goesOn:
			return to, nil // after a seal, a log continues in the named repository only
		case to != "" && !slices.Contains(elsewhere, to) && !slices.Contains(guess, to):
			guess = append(guess, to)
		}
	}
	listed, err := listedRepository(ctx, p.Store)
	if err != nil {
		return "", err
	}
	switch {
	case listed != "" && !slices.Contains(elsewhere, listed) && (len(guess) == 0 || slices.Contains(guess, listed)):
		return listed, nil // signed lists name it, whether the signature is valid or not
	case len(guess) == 0:
		return "", nil
	case len(guess) == 1:
		return guess[0], nil
	}
	return "", fmt.Errorf("the id is unknown: backups were moved to the repositories %q, and one of them may be this one: restore an earlier version of the object, or write one with the right id", guess)
}

// repositoryIDs returns the ids of all partitions that have one.
func repositoryIDs(ctx context.Context, all []repository.Config) (ids []string, err error) {
	for _, p := range all {
		r, err := repository.ReadInfo(ctx, p.Store)
		if repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist) {
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
		if err == nil {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// lastSeal returns the repository that the newest seal names, and whether commits follow it.
func lastSeal(ctx context.Context, f *repository.Found) (to string, goesOn bool, err error) {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err != nil {
		if history.IsDamage(err) || errors.Is(err, history.ErrBeforeFirst) {
			err = nil
		}
		return "", false, err
	}
	defer m.Close()
	i, err := m.Item(history.ItemKey{Kind: history.ItemSealed})
	if err != nil || i == nil {
		return "", false, err
	}
	return i.Event.(*history.SealedEvent).To, m.Tip().Number > i.Commit, nil
}
