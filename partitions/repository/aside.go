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

// A backup that was set aside lies below set-aside/<b>/<time>/, with the keys that it had
// below backups/<b>/ (docs/format.md 2.2). Its objects still name each other by their old
// keys, so readers see them there, through an asideStore.

// AsidePrefix is the prefix of backups that were set aside.
const AsidePrefix = "set-aside/"

// asideVersion is the version of set-aside.json.
const asideVersion = 1

// The states of a backup that is being set aside, in their order.
const (
	asideCopying = "copying" // the copy is a part of the backup
	asideWhole   = "whole"   // the copy is whole, and the originals are being removed
	asideDone    = "done"    // nothing is left in the old place
)

// asideInfo is set-aside.json.
type asideInfo struct {
	Version int       `json:"version"`
	Backup  string    `json:"backup"` // path below backups/ that its objects name
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	Since   time.Time `json:"since"`  // store time
	Reason  string    `json:"reason"` // for people
	State   string    `json:"state"`
}

// asideBase is where a backup lies that was set aside at a time, without a final slash.
func asideBase(path string, at time.Time) string {
	return AsidePrefix + path + "/" + at.UTC().Format("20060102T150405Z")
}

func asideInfoKey(base string) string { return base + "/set-aside.json" }

// readAsideInfo reads set-aside.json.
func readAsideInfo(ctx context.Context, s objstore.Store, base string) (*asideInfo, objstore.Info, error) {
	key := asideInfoKey(base)
	b, info, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, info, err
	}
	var a asideInfo
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, info, fmt.Errorf("read %s: %w", key, err)
	}
	if a.Version != asideVersion {
		return nil, info, fmt.Errorf("%s has version %d; this program knows version %d: use a newer one", key, a.Version, asideVersion)
	}
	return &a, info, nil
}

func (a *asideInfo) put(ctx context.Context, s objstore.Store, base string, o objstore.PutOptions) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, asideInfoKey(base), bytes.NewReader(append(b, '\n')), o)
	return err
}

// found is the backup that was set aside, readable like any other.
func (a *asideInfo) found(p Config, base string) *Found {
	p.Store = asideStore{Store: p.Store, old: BackupPrefix(a.Backup), now: base + "/"}
	return &Found{Partition: p, Path: a.Backup, Aside: base, Info: BackupInfo{
		Version: Version, Name: a.Name, Kind: a.Kind, Created: a.Since}}
}

// findAside looks for a backup by the key that it was set aside under.
func findAside(ctx context.Context, p Config, base string) (*Found, error) {
	a, _, err := readAsideInfo(ctx, p.Store, base)
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

// asideBases yields where backups were set aside, of all keys with a prefix. It skips from
// one to the next.
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
			after = base + "0" // which follows "/": behind everything in it
		}
	}
}

// asideStore shows the objects of one backup under the keys that they had before it was
// set aside. It is for reading.
type asideStore struct {
	objstore.Store
	old, now string // prefixes of keys
}

func (s asideStore) key(k string) string {
	if rest, ok := strings.CutPrefix(k, s.old); ok {
		return s.now + rest
	}
	return k
}

func (s asideStore) was(i objstore.Info) objstore.Info {
	if rest, ok := strings.CutPrefix(i.Key, s.now); ok {
		i.Key = s.old + rest
	}
	return i
}

// ErrAside refuses to write to a backup that was set aside.
var ErrAside = errors.New("the backup was set aside, and is only read")

// Put implements objstore.Store: it is refused.
func (s asideStore) Put(_ context.Context, key string, _ objstore.Body, _ objstore.PutOptions) (objstore.Info, error) {
	return objstore.Info{}, &objstore.Error{Op: "put", Key: s.key(key), Err: ErrAside}
}

// Delete implements objstore.Store: it is refused.
func (s asideStore) Delete(_ context.Context, key string) error {
	return &objstore.Error{Op: "delete", Key: s.key(key), Err: ErrAside}
}

// Get implements objstore.Store.
func (s asideStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := s.Store.Get(ctx, s.key(key), off, n)
	if o != nil {
		o.Info = s.was(o.Info)
	}
	return o, err
}

// Stat implements objstore.Store.
func (s asideStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	i, err := s.Store.Stat(ctx, s.key(key))
	return s.was(i), err
}

// List implements objstore.Store.
func (s asideStore) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range s.Store.List(ctx, s.key(prefix), s.key(startAfter)) {
			if !yield(s.was(i), err) {
				return
			}
		}
	}
}
