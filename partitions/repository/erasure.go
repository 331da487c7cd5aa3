package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The states of an erasure, in their order.
const (
	ErasureBegun    = "begun"    // the copies of the backup are being set aside
	ErasureRemoving = "removing" // the packs are on record and condemned; the copies are being removed
	ErasurePending  = "pending"  // the copies are removed; bodies in packs are left
	ErasureDone     = "done"
)

// Erasure is erased/<id>.json: the record of an erasure in one partition (docs/format.md 8). It
// has no content of the backup.
type Erasure struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`     // 16 random bytes, hex; the same in all partitions
	Backup  string    `json:"backup"` // path below backups/
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	By      string    `json:"by"`     // for people
	Reason  string    `json:"reason"` // for people
	Since   time.Time `json:"since"`  // store time, as the following
	State   string    `json:"state"`
	// IDs are those in the backup.json of all copies, in every partition. A run that was
	// interrupted continues with these copies only.
	IDs []string `json:"ids,omitempty"`
	// Cut is when the copies were complete and set aside. Former versions below the keys of the
	// backup are removed if they are older.
	Cut     time.Time `json:"cut,omitzero"`
	Removed time.Time `json:"removed,omitzero"` // when the copies had been removed
	Done    time.Time `json:"done,omitzero"`
	// Retained is the time until which the store refuses to remove something.
	Retained time.Time `json:"retained,omitzero"`
	Copies   []string  `json:"copies"` // folders of the copies that were set aside
	Objects  int64     `json:"objects"`
	Bytes    int64     `json:"bytes"` // of the objects of the copies
	Packs    int64     `json:"packs"` // with bodies of the backup
	// Unknown counts objects that could not be read, so that the packs that only they named are
	// not on record. They are removed as unused.
	Unknown int64 `json:"unknown,omitempty"`
}

// erasureVersion is the version of the record.
const erasureVersion = 1

// ErasedPrefix is the prefix of the records of erasures.
const ErasedPrefix = "erased/"

// ErasureKey is the key of the record of an erasure.
func ErasureKey(id string) string { return ErasedPrefix + id + ".json" }

// ErasurePacksKey is the key of the list of the packs of an erasure, until it is done.
func ErasurePacksKey(id string) string { return ErasedPrefix + id + ".packs.zst" }

// Unfinished reports whether copies of the backup may be left.
func (e *Erasure) Unfinished() bool { return e.State == ErasureBegun || e.State == ErasureRemoving }

// Of returns the name of the erased backup.
func (e *Erasure) Of() Name { return Name{e.Kind, e.Name} }

// Check returns an error if the record is not valid.
func (e *Erasure) check(key string) error {
	switch {
	case e.Version != erasureVersion:
		return fmt.Errorf("%s has version %d, this program supports version %d: %w", key, e.Version, erasureVersion, ErrVersion)
	case ErasureKey(e.ID) != key, e.Of().Path() != e.Backup:
		return fmt.Errorf("%s: %w: it is about another erasure", key, history.ErrCorrupt)
	}
	for _, c := range e.Copies { // they are removed with all that is in them
		if rest, ok := strings.CutPrefix(c, AsidePrefix); !ok || strings.Count(rest, "/") != 2 || strings.HasSuffix(rest, "/") {
			return fmt.Errorf("%s: %w: %q is not the folder of a backup that was set aside", key, history.ErrCorrupt, c)
		}
	}
	return nil
}

// ReadErasure reads a record. The error is history.ErrCorrupt if it is damaged.
func ReadErasure(ctx context.Context, s objstore.Store, id string) (*Erasure, objstore.Info, error) {
	key := ErasureKey(id)
	b, info, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, info, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	var e Erasure
	if err := d.Decode(&e); err != nil {
		return nil, info, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	return &e, info, e.check(key)
}

// Put puts the record if it still has an ETag; "" = if it does not exist. It returns the new ETag.
// After an unclear answer it looks whether its put has succeeded.
func (e *Erasure) Put(ctx context.Context, s objstore.Store, etag string) (string, error) {
	if err := e.check(ErasureKey(e.ID)); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return "", err
	}
	b = append(b, '\n')
	info, err := s.Put(ctx, ErasureKey(e.ID), bytes.NewReader(b), objstore.PutOptions{IfAbsent: etag == "", IfMatch: etag})
	if err == nil {
		return info.ETag, nil
	}
	there, now, rerr := ReadSmall(ctx, s, ErasureKey(e.ID))
	if rerr == nil && bytes.Equal(there, b) {
		return now.ETag, nil
	}
	return "", err
}

// Erasures yields the records of a partition that were changed after a time, in order of their
// ids. An error of one record comes with its id only.
func Erasures(ctx context.Context, p Config, after time.Time) iter.Seq2[*Erasure, error] {
	return func(yield func(*Erasure, error) bool) {
		for info, err := range p.Store.List(ctx, ErasedPrefix, "") {
			if err != nil {
				yield(nil, fmt.Errorf("partition %s: %w", p.Name, err))
				return
			}
			id, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, ErasedPrefix), ".json")
			if !ok || !info.Modified.IsZero() && info.Modified.Before(after) {
				continue
			}
			e, _, err := ReadErasure(ctx, p.Store, id)
			if errors.Is(err, objstore.ErrNotExist) {
				continue
			}
			if err != nil {
				e, err = &Erasure{ID: id}, fmt.Errorf("partition %s: %w", p.Name, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
