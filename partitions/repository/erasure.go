package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
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
	// Before is the time before which only the history was erased; zero = the whole backup. Such a
	// record has version 2, because a program that does not know it would erase everything.
	Before time.Time `json:"before,omitzero"`
	// Messages are the messages that were erased; none = another kind of erasure. Such a record has version 3.
	Messages []ErasedMessage `json:"messages,omitempty"`
	// Commit is the number of the commit with the event about them, and Erased its time; zero = it was not put yet. No
	// later commit, and no later state with another arrival of a message, is a part of the erasure.
	Commit uint64    `json:"commit,omitempty"`
	Erased time.Time `json:"erased,omitzero"`
	// Shared is the number of chunks of the messages that stay, because other messages of the backup have them.
	Shared int64 `json:"shared,omitempty"`
	// IDs are those in the backup.json of all copies, in every partition. A run that was
	// interrupted continues with these copies only.
	IDs []string `json:"ids,omitempty"`
	// Cut is when the copies were complete and set aside. Former versions below the keys of the
	// backup are removed if they are older.
	Cut     time.Time `json:"cut,omitzero"`
	Removed time.Time `json:"removed,omitzero"` // when the copies had been removed
	Waits   time.Time `json:"waits,omitzero"`   // of history: when the next look for the rest makes sense
	// Stale is when the list of blocks was made (ErasureBlocksKey), of history. It counts only if it is after Removed.
	Stale time.Time `json:"stale,omitzero"`
	Done  time.Time `json:"done,omitzero"`
	// Failed is when an erasure of history failed last because of the backup, not of the store: a commit is lost, for
	// example. Zero = the last run succeeded, or none was made. A person can then end it.
	Failed time.Time `json:"failed,omitzero"`
	// Cancelled is when an erasure of history was ended that was not complete: by a person, or, while it is pending,
	// because it had removed nothing. In the latter case only packs are left that it had put.
	Cancelled time.Time `json:"cancelled,omitzero"`
	// Retained is the time until which the store refuses to remove something.
	Retained time.Time `json:"retained,omitzero"`
	// LegalHold means that a version has a legal hold, which ends only when somebody releases it.
	LegalHold bool     `json:"legal_hold,omitempty"`
	Copies    []string `json:"copies"` // folders of the copies that were set aside
	Objects   int64    `json:"objects"`
	Bytes     int64    `json:"bytes"` // of the objects of the copies
	Packs     int64    `json:"packs"` // with bodies of the backup
	// Unknown counts objects that could not be read, so that the packs that only they named are
	// not on record. They are removed as unused.
	Unknown int64 `json:"unknown,omitempty"`
}

// ErasedMessage is a message that was erased. The chunks are known as long as nothing else shows them.
type ErasedMessage struct {
	GUID   cyrus.GUID        `json:"guid"`
	Chunks []history.ChunkID `json:"chunks"`
	// Whole means that moments before the event still have it: other messages have all of its chunks, and have arrived
	// shortly before the event.
	Whole bool `json:"whole,omitempty"`
}

// The versions of the record: of whole backups, of the history before a time, and of messages.
const (
	erasureVersion    = 1
	erasureOfHistory  = 2
	erasureOfMessages = 3
)

// NewErasure returns a record of the erasure of a backup, or of its history before a time.
func NewErasure(id string, of Name, before time.Time) *Erasure {
	e := &Erasure{Version: erasureVersion, ID: id, Backup: of.Path(), Name: of.Full, Kind: of.Kind, State: ErasureBegun, Copies: []string{}}
	if !before.IsZero() {
		e.Version, e.Before = erasureOfHistory, before.UTC()
	}
	return e
}

// NewErasureOfMessages returns a record of the erasure of messages from a backup.
func NewErasureOfMessages(id string, of Name, list []ErasedMessage) *Erasure {
	e := NewErasure(id, of, time.Time{})
	e.Version, e.Messages = erasureOfMessages, list
	return e
}

// OfHistory reports whether the history before a time is erased.
func (e *Erasure) OfHistory() bool { return !e.Before.IsZero() }

// OfMessages reports whether single messages are erased.
func (e *Erasure) OfMessages() bool { return len(e.Messages) > 0 }

// InPart reports whether the backup stays, and only a part of it is erased: history, or messages.
func (e *Erasure) InPart() bool { return e.OfHistory() || e.OfMessages() }

// IsAbout reports whether the record is about exactly these messages.
func (e *Erasure) IsAbout(list []cyrus.GUID) bool {
	if len(list) != len(e.Messages) {
		return false
	}
	for _, m := range e.Messages {
		if !slices.Contains(list, m.GUID) {
			return false
		}
	}
	return true
}

// ErasedPrefix is the prefix of the records of erasures.
const ErasedPrefix = "erased/"

// ErasureKey is the key of the record of an erasure.
func ErasureKey(id string) string { return ErasedPrefix + id + ".json" }

// ErasurePacksKey is the key of the list of the packs of an erasure, until it is done.
func ErasurePacksKey(id string) string { return ErasedPrefix + id + ".packs.zst" }

// ErasureBlocksKey is the key of the list of the objects of records/ that may have erased history, until it is done.
func ErasureBlocksKey(id string) string { return ErasedPrefix + id + ".blocks.zst" }

// Unfinished reports whether copies of the backup may be left.
func (e *Erasure) Unfinished() bool { return e.State == ErasureBegun || e.State == ErasureRemoving }

// Of returns the name of the erased backup.
func (e *Erasure) Of() Name { return Name{e.Kind, e.Name} }

// Check returns an error if the record is not valid.
func (e *Erasure) check(key string) error {
	switch {
	case e.Version < erasureVersion || e.Version > erasureOfMessages:
		return fmt.Errorf("%s has version %d, this program supports version %d: %w", key, e.Version, erasureOfMessages, ErrVersion)
	case (e.Version == erasureOfHistory) != e.OfHistory(), (e.Version == erasureOfMessages) != e.OfMessages(), e.InPart() && len(e.Copies) > 0:
		return fmt.Errorf("%s: %w: it does not show which part it is about", key, history.ErrCorrupt)
	case ErasureKey(e.ID) != key, e.Of().Path() != e.Backup:
		return fmt.Errorf("%s: %w: it is about another erasure", key, history.ErrCorrupt)
	}
	for _, c := range e.Copies { // they are removed with all that is in them
		if rest, ok := strings.CutPrefix(c, AsidePrefix); !ok || strings.Count(rest, "/") != 2 || objstore.CheckKey(c) != nil {
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

// ErrErasing reports a backup with an erased part whose bodies are not all removed yet.
var ErrErasing = errors.New("an erasure of a part of it is not complete: see ctl_backups erase --list, and run compact -A first (if that fails because of the backup, end it with erase and its options and --cancel)")

// Concerns reports whether the record is about a part of a backup, and not of another one with its name.
func (e *Erasure) Concerns(f *Found) bool {
	return e.InPart() && e.Backup == f.Path && len(e.IDs) == 1 && e.IDs[0] == f.Info.ID
}

// MayConcern reports whether the record may be about a part of a backup. A repair of backup.json gives it another
// id. The time of creation is then unknown, unless the log begins with commit 1 (verify.Repair): a later one proves that
// it is another backup.
func (e *Erasure) MayConcern(f *Found) bool {
	return e.InPart() && e.Backup == f.Path && (e.Concerns(f) || f.Info.ID == "" || !f.Info.Created.After(e.Since))
}

// CheckErasures returns ErrErasing if a copy of the backup may have bodies that have to disappear. A backup
// whose backup.json cannot be read counts as every backup that had its name.
func (f *Found) CheckErasures(ctx context.Context) error {
	for e, err := range Erasures(ctx, f.Partition, time.Time{}) {
		if err != nil && (e == nil || IsStoreError(err)) {
			return err
		}
		if err == nil && e.State != ErasureDone && e.Cancelled.IsZero() && e.MayConcern(f) {
			return fmt.Errorf("%s: %w", f.Name(), ErrErasing)
		}
	}
	return nil
}

// Erasing reports whether an erasure in a partition is not done, of any backup. A record that cannot be read may be about
// one. Each erasure puts its record before it looks for packs.
func Erasing(ctx context.Context, p Config) (bool, error) {
	return anyOpen(ctx, p, func(*Erasure) bool { return true })
}

// ErasingPart reports whether an erasure of a part of a backup with this name is not done. A record that cannot
// be read may be one.
func (f *Found) ErasingPart(ctx context.Context) (bool, error) {
	return anyOpen(ctx, f.Partition, func(e *Erasure) bool { return e.InPart() && e.Backup == f.Path })
}

// anyOpen reports whether is returns true for a record that is not done, or a record cannot be read.
func anyOpen(ctx context.Context, p Config, is func(*Erasure) bool) (bool, error) {
	for e, err := range Erasures(ctx, p, time.Time{}) {
		if err != nil && (e == nil || IsStoreError(err)) {
			return false, err
		}
		if err != nil || e.State != ErasureDone && is(e) {
			return true, nil
		}
	}
	return false, nil
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
