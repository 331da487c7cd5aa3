package collection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ResultKey is the key of the totals of the last complete pass.
const ResultKey = repository.TotalsKey

// Amount is a number of packs and their bytes.
type Amount struct {
	Packs int   `json:"packs"`
	Bytes int64 `json:"bytes"`
}

func (a *Amount) add(bytes int64) {
	a.Packs++
	a.Bytes += bytes
}

// Add adds another amount.
func (a *Amount) Add(b Amount) {
	a.Packs += b.Packs
	a.Bytes += b.Bytes
}

func (a *Amount) sub(b Amount) { a.Add(Amount{-b.Packs, -b.Bytes}) }

// Totals are the packs of a partition as a pass has found them.
type Totals struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"` // store time at the start
	Backups int       `json:"backups"`
	Aside   int       `json:"set_aside"` // backups that were set aside
	// Twice are those of them that Backups includes, because they were being set aside.
	Twice int `json:"twice,omitempty"`
	// There are the backups with an object that was put by Time. 0 = unknown.
	There int `json:"there,omitempty"`
	// Listed means that the pass has put the register before.
	Listed bool   `json:"listed,omitempty"`
	All    Amount `json:"all"`
	Used   Amount `json:"used"` // named by a backup
	// Sparse packs are used and condemned, most of them because they are mostly dead or small. They will
	// be rewritten by a later pass.
	Sparse Amount `json:"sparse"`
	// Condemned packs are unused, and will be removed by a later pass.
	Condemned Amount `json:"condemned"`
	// Young packs are unused, but not old enough to be condemned.
	Young Amount `json:"young"`
	// Merged is the store time of the last pass that condemned small packs. Zero = none.
	Merged time.Time `json:"merged,omitzero"`
}

// copies is the number of backups and of copies that were set aside, each counted once.
func (t *Totals) copies() int { return t.Backups + t.Aside - t.Twice }

// Reclaimable is what later passes will remove whole if nothing changes. What they free in sparse packs
// is known when these are counted entry by entry.
func (t *Totals) Reclaimable() Amount {
	return Amount{t.Condemned.Packs + t.Young.Packs, t.Condemned.Bytes + t.Young.Bytes}
}

// Result is the outcome of a pass.
type Result struct {
	Totals
	Read       int    // backups whose objects had changed since the last pass
	Condemning Amount // unused packs, condemned by this pass
	Thinning   Amount // used but mostly dead or small packs, condemned by this pass
	Removed    Amount
	Rewritten  Amount // condemned packs whose used entries were copied: a later pass removes them
	Written    Amount // the packs that have these entries now
	Replaced   Amount // packs that were removed after their rewrite
	// Erasing is the number of packs in Options.Erase that still exist, or have versions.
	Erasing int
	// Retained is the time until which the bucket retains one of them; zero if none or unknown.
	Retained time.Time
	// LegalHold means that one of them has a legal hold.
	LegalHold bool
	// Places are the paths of backups, chosen by Options.Places, with a checkpoint whose places may
	// lead to packs that have a note. At most mostOldPlaces of them are listed: the others follow.
	Places []string
	// Noted reports whether there is a note with entries about the pack with a key, or perhaps about
	// another one. It is nil without Options.Places.
	Noted func(pack string) bool
	// Blocked are the reasons why nothing was condemned or removed: backups whose packs could
	// not be determined. At most MostBlocked of them are kept.
	Blocked []BlockedError
	// Blocking is the number of all reasons.
	Blocking int
	// Unchecked are backups that may be missing, beside those in Blocked: see Options.Missing.
	Unchecked int
	// Accepted are the backups in Options.AcceptMissing that were missing.
	Accepted []string
	// Kept are packs that had to be rewritten or erased and could not be, unreadable notes about packs that
	// nobody names, and backups that were set aside in part, with the reasons. At most MostBlocked of them are listed.
	Kept []BlockedError
	// Keeping is the number of all these objects.
	Keeping int
}

// MostBlocked is how many reasons a Result has.
const MostBlocked = 20

// BlockedError is a backup, or another object, that could not be read.
type BlockedError struct {
	Key string
	Err error
}

// Error names the key.
func (b BlockedError) Error() string { return b.Key + ": " + b.Err.Error() }
func (b BlockedError) Unwrap() error { return b.Err }

// block adds a reason. listed reports whether it is in Blocked.
func (r *Result) block(key string, err error) (listed bool) {
	r.Blocking++
	if listed = len(r.Blocked) < MostBlocked; listed {
		r.Blocked = append(r.Blocked, BlockedError{key, err})
	}
	return listed
}

func (r *Result) keep(key string, err error) {
	if r.Keeping++; len(r.Kept) < MostBlocked {
		r.Kept = append(r.Kept, BlockedError{key, err})
	}
}

// Last returns the totals of the last complete pass, or nil if there was none or they are
// damaged: the next pass puts them again.
func Last(ctx context.Context, s objstore.Store) (*Totals, error) {
	obj, err := s.Get(ctx, ResultKey, 0, -1)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(obj, maxResult))
	if err = errors.Join(err, obj.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", ResultKey, err)
	}
	t := new(Totals)
	if json.Unmarshal(b, t) != nil {
		return nil, nil
	}
	if t.Version != resultVersion {
		return nil, fmt.Errorf("%s has version %d: %w", ResultKey, t.Version, repository.ErrVersion)
	}
	return t, nil
}

const (
	resultVersion = 1
	maxResult     = 1 << 20
)

func (t *Totals) put(ctx context.Context, s objstore.Store) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, ResultKey, bytes.NewReader(append(b, '\n')), objstore.PutOptions{})
	return err
}
