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
)

// A backup that was set aside is stored below set-aside/<b>/<time>/, with the same keys as
// below backups/<b>/ before (docs/format.md 2.2). Its objects still refer to each other by
// their old keys, so readers go through an asideStore, which translates keys.

// AsidePrefix is the prefix of backups that were set aside.
const AsidePrefix = "set-aside/"

// asideVersion is the version of set-aside.json.
const asideVersion = 1

// The states of a backup that is being set aside, in their order.
const (
	asideCopying = "copying" // the copy is incomplete
	asideWhole   = "whole"   // the copy is complete; the originals are being removed
	asideDone    = "done"    // all originals are removed
)

// asideInfo is set-aside.json.
type asideInfo struct {
	Version int       `json:"version"`
	Backup  string    `json:"backup"` // path below backups/ that the objects refer to
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	Since   time.Time `json:"since"`  // store time
	Reason  string    `json:"reason"` // for people
	State   string    `json:"state"`
}

// asideBase is the prefix of a backup that was set aside at a time, without a final slash.
func asideBase(path string, at time.Time) string {
	return AsidePrefix + path + "/" + at.UTC().Format("20060102T150405Z")
}

func asideInfoKey(base string) string { return base + "/set-aside.json" }

// readAsideInfo reads set-aside.json.
func readAsideInfo(ctx context.Context, s objstore.Store, base string) (*asideInfo, error) {
	a, _, err := statAsideInfo(ctx, s, base)
	return a, err
}

// statAsideInfo is readAsideInfo, and returns what the store shows of the object.
func statAsideInfo(ctx context.Context, s objstore.Store, base string) (*asideInfo, objstore.Info, error) {
	key := asideInfoKey(base)
	b, at, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, at, err
	}
	var a asideInfo
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, at, fmt.Errorf("read %s: %w", key, err)
	}
	if a.Version != asideVersion {
		return nil, at, fmt.Errorf("%s has version %d, this program supports version %d: use a newer version of this program", key, a.Version, asideVersion)
	}
	return &a, at, nil
}

func (a *asideInfo) put(ctx context.Context, s objstore.Store, base string, o objstore.PutOptions) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, asideInfoKey(base), bytes.NewReader(append(b, '\n')), o)
	return err
}

// found returns the backup that was set aside, with a store that translates its keys.
func (a *asideInfo) found(p Config, base string) *Found {
	p.Store = asideStore{Store: p.Store, old: BackupPrefix(a.Backup), now: base + "/"}
	return &Found{Partition: p, Path: a.Backup, Aside: base, Info: BackupInfo{
		Version: Version, Name: a.Name, Kind: a.Kind, Created: a.Since}}
}

// findAside finds the backup that was set aside below the key base.
func findAside(ctx context.Context, p Config, base string) (*Found, error) {
	a, err := readAsideInfo(ctx, p.Store, base)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w in partition %s (%s)", base, ErrNoBackup, p.Name, p.Location)
	}
	if err != nil {
		return nil, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	f := a.found(p, base)
	if info, err := ReadBackupInfo(ctx, f.Partition.Store, f.Path); err == nil && info.Check(f.Name()) == nil {
		f.Info = *info
	}
	return f, nil
}

// BrowseAside yields the backups of a partition that were set aside, in order of their keys.
func BrowseAside(ctx context.Context, p Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for base, err := range asideBases(ctx, p.Store, AsidePrefix) {
			var f *Found
			if err == nil {
				f, err = findAside(ctx, p, base)
			} else {
				err = fmt.Errorf("partition %s: %w", p.Name, err)
			}
			if !yield(f, err) || err != nil && f == nil && IsStoreError(err) {
				return
			}
		}
	}
}

// asideBases yields the bases (see asideBase) below a prefix. It lists the first key of
// each backup only.
func asideBases(ctx context.Context, s objstore.Store, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := ""; ; {
			base := ""
			for info, err := range s.List(ctx, prefix, after) {
				if err != nil {
					yield("", err)
					return
				}
				if parts := strings.SplitN(info.Key, "/", 5); len(parts) == 5 {
					base = strings.Join(parts[:4], "/")
					break
				}
			}
			if base == "" || !yield(base, nil) {
				return
			}
			after = base + "0" // "0" follows "/", so this key sorts after all keys below base
		}
	}
}

// AsidePlaces yields where backups were set aside in a partition, as FindPath takes it: all, or those from the folder of a
// path below backups/.
func AsidePlaces(ctx context.Context, s objstore.Store, path string) iter.Seq2[string, error] {
	prefix := AsidePrefix
	if path != "" {
		prefix += path + "/"
	}
	return asideBases(ctx, s, prefix)
}
