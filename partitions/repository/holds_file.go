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

// ReadHolds reads holds.json. Without one it returns Holds without any. The error is
// history.ErrCorrupt if the object is unreadable, and ErrVersion if a newer program wrote it.
func (f *Found) ReadHolds(ctx context.Context) (*Holds, error) {
	h, _, err := f.readHolds(ctx)
	return h, err
}

// readHolds also returns the ETag; "" if there is no holds.json.
func (f *Found) readHolds(ctx context.Context) (*Holds, objstore.Info, error) {
	key := HoldsKey(f.Path)
	b, info, err := ReadSmall(ctx, f.unlistedStore(), key)
	if errors.Is(err, objstore.ErrNotExist) {
		return &Holds{Version: holdsVersion}, objstore.Info{StoreTime: objstore.StoreTimeOf(err)}, nil
	}
	if err != nil {
		if !IsStoreError(err) {
			err = fmt.Errorf("%w: %w", history.ErrCorrupt, err)
		}
		return nil, info, err
	}
	h, err := decodeHolds(key, b)
	return h, info, err
}

// unlistedStore returns the store itself: a listing may be older than a hold.
func (f *Found) unlistedStore() objstore.Store {
	if l, ok := f.Partition.Store.(*listedStore); ok {
		return l.Store
	}
	return f.Partition.Store
}

func decodeHolds(key string, b []byte) (*Holds, error) {
	var v struct{ Version int }
	if err := json.Unmarshal(b, &v); err == nil && v.Version > holdsVersion {
		return nil, fmt.Errorf("%s has version %d, this program supports version %d: %w", key, v.Version, holdsVersion, ErrVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var h Holds
	err := d.Decode(&h)
	if err == nil && h.Version != holdsVersion {
		err = fmt.Errorf("no version %d", holdsVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	return &h, nil
}

// CheckHolds returns ErrOnHold if the backup is on hold, or may be because holds.json is
// unreadable. now is the store's time, or zero if that is in doubt.
func (f *Found) CheckHolds(ctx context.Context, now time.Time) error {
	h, err := f.ReadHolds(ctx)
	switch {
	case err != nil && !IsStoreError(err):
		return fmt.Errorf("%w: %w: ctl_backups release or hold replaces the object", ErrOnHold, err)
	case err != nil:
		return err
	}
	return h.Err(now)
}

// encode returns the bytes of holds.json.
func (h *Holds) encode() ([]byte, error) {
	if h.Holds == nil {
		h.Holds = []Hold{}
	}
	b, err := json.MarshalIndent(h, "", "  ")
	return append(b, '\n'), err
}
