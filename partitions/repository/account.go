package repository

import (
	"context"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Account is what the objects of a partition, or of one backup, add up to.
type Account struct {
	Packs       Amount // messages, which the backups of a partition share
	Log         Amount // commits and segments
	Checkpoints Amount // states, and the blocks that they name
	SetAside    Amount // backups that were set aside, and packs that wait during a repair
	Other       Amount // notes, locks, descriptions of backups, foreign objects
}

// Amount counts objects.
type Amount struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
	// Written counts the objects written since the beginning of the period: at least so many
	// requests to put were paid for. Objects that were replaced or removed since are not in it.
	Written int64 `json:"written"`
}

// Total adds up all kinds of objects.
func (a *Account) Total() (sum Amount) {
	for _, x := range []Amount{a.Packs, a.Log, a.Checkpoints, a.SetAside, a.Other} {
		sum.add(x)
	}
	return sum
}

// Add adds the objects of another partition.
func (a *Account) Add(b Account) {
	a.Packs.add(b.Packs)
	a.Log.add(b.Log)
	a.Checkpoints.add(b.Checkpoints)
	a.SetAside.add(b.SetAside)
	a.Other.add(b.Other)
}

func (a *Amount) add(b Amount) {
	a.Objects += b.Objects
	a.Bytes += b.Bytes
	a.Written += b.Written
}

// AddUp lists a partition and adds up its objects. Amount.Written begins at since. each is called
// for each backup, in order of the keys, with what it does not share with others, and with its path
// below backups/. It keeps nothing of the list.
func AddUp(ctx context.Context, s objstore.Store, since time.Time, each func(path string, own Account) error) (all Account, err error) {
	var path string
	var own Account
	finish := func() error {
		if path == "" {
			return nil
		}
		return each(path, own)
	}
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return all, err
		}
		if p := backupOfKey(info.Key); p != path {
			if err := finish(); err != nil {
				return all, err
			}
			path, own = p, Account{}
		}
		all.add(info, path, since)
		own.add(info, path, since)
	}
	return all, finish()
}

// backupOfKey returns the path of the backup that an object belongs to; "" = none.
func backupOfKey(key string) string {
	rest, ok := strings.CutPrefix(key, "backups/")
	if !ok {
		return ""
	}
	kind, rest, _ := strings.Cut(rest, "/")
	name, _, ok := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return kind + "/" + name
}

func (a *Account) add(info objstore.Info, path string, since time.Time) {
	x := a.kind(info.Key, path)
	x.Objects++
	x.Bytes += info.Size
	if !info.Modified.Before(since) {
		x.Written++
	}
}

// kind returns the amount that an object belongs to. path is that of its backup.
func (a *Account) kind(key, path string) *Amount {
	switch {
	case strings.HasPrefix(key, "packs/"):
		return &a.Packs
	case strings.HasPrefix(key, AsidePrefix):
		return &a.SetAside
	case path == "":
		return &a.Other
	case strings.HasPrefix(key, history.LogPrefix(path)):
		return &a.Log
	case strings.HasPrefix(key, history.CheckpointPrefix(path)), strings.HasPrefix(key, history.RecordsPrefix(path)):
		return &a.Checkpoints
	}
	return &a.Other
}
