package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// owner is what the objects of a backup say about whose it is.
type owner struct {
	own     bool   // some of them are this backup's
	other   string // the path of another backup that some are of; "" = of none
	created time.Time
	objects int // of the log and checkpoints
}

// foreign says that there is nothing of this backup, but something of another.
func (o owner) foreign() bool { return !o.own && o.other != "" }

// owner reads headers until one says that the backup is the right one.
func (f *Found) owner(ctx context.Context) (o owner, err error) {
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return o, err
		}
		if _, _, ok := history.ParseLogKey(f.Path, info.Key); !ok {
			continue
		}
		o.objects++
		h, err := history.PeekHeader(ctx, f.Partition.Store, info.Key)
		switch {
		case err != nil && !history.IsDamage(err):
			return o, err
		case err != nil, h.Backup == f.Path && h.Connection == "lock": // a tool's, that was here before
		case h.Backup == f.Path:
			o.own, o.created = true, h.Time
			return o, nil
		case o.other == "":
			o.other = h.Backup
		}
	}
	numbers, err := f.Log().Checkpoints(ctx)
	for _, n := range numbers {
		o.objects++
		m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
		if history.IsUnreadable(err) {
			continue
		}
		if err != nil {
			return o, err
		}
		o.own, o.created = true, m.Time()
		return o, m.Close()
	}
	return o, err
}

// foreign sets aside what only lies under the backup's name, as a copy of another's folder.
func (r *repairer) foreign(ctx context.Context) (bool, error) {
	half, err := halfAside(ctx, r.store, r.f.Path)
	if err != nil || !half && !r.what.info {
		return false, err
	}
	reason := "ctl_backups set-aside was cut off"
	if !half {
		o, err := r.f.owner(ctx)
		if err != nil || !o.foreign() {
			return false, err
		}
		reason = "its objects are those of the backup " + o.other
	}
	f, err := r.named()
	if err != nil {
		return false, err
	}
	r.done.Aside, _, err = f.SetAside(ctx, reason, r.o.Lock, nil)
	if err != nil {
		return false, err
	}
	r.report(Repaired, backupPrefix(r.f.Path), "set aside as %s, since %s; the next sync begins a new backup", r.done.Aside, reason)
	return true, nil
}

// named is the backup with the name that its path says, whatever backup.json does.
func (r *repairer) named() (*Found, error) {
	f := *r.f
	if f.Name().Path() == f.Path {
		return &f, nil
	}
	n, ok := NameOf(f.Path)
	if !ok {
		return nil, fmt.Errorf("%s: the path does not tell whose backup it is: give the userid or the mailbox", f.Path)
	}
	f.Info = BackupInfo{Name: n.Full, Kind: n.Kind}
	return &f, nil
}

// backupInfo puts backup.json again, if the log proves whose it is.
func (r *repairer) backupInfo(ctx context.Context) error {
	if !r.what.info {
		return nil
	}
	o, err := r.f.owner(ctx)
	if err != nil {
		return err
	}
	key := backupInfoKey(r.f.Path)
	if !o.own && o.objects > 0 {
		return fmt.Errorf("%s: nothing in the log can be read that proves whose backup it is: ctl_backups set-aside lets a new one begin", key)
	}
	f, err := r.named()
	if err != nil {
		return err
	}
	opt := objstore.PutOptions{IfAbsent: true}
	if info, err := r.store.Stat(ctx, key); err == nil {
		opt = objstore.PutOptions{IfMatch: info.ETag}
	} else if !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	if o.created.IsZero() {
		if o.created, err = r.lock.now(ctx); err != nil {
			return err
		}
	}
	if r.f.Info, err = f.putInfo(ctx, opt, o.created); err != nil {
		return err
	}
	r.report(Repaired, key, "put again: the log is that of the backup of %s", f.Name())
	return nil
}
