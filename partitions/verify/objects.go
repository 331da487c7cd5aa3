package verify

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// objects reads every object of the backup, and returns the first and the newest commit. It counts
// the commit that must have followed a segment (history.Log.Newest). It ignores unknown keys.
func (w *verifier) objects() (first, newest uint64, err error) {
	w.step("checking the objects of the log")
	var single uint64    // the newest commit with its own object
	var copying []uint64 // see history.CopyingKey
	odd, err := w.odd()
	if err != nil {
		return 0, 0, err
	}
	for info, err := range w.store.List(w.ctx, repository.BackupPrefix(w.f.Path), "") {
		if err != nil {
			return 0, 0, err
		}
		from, to, isLog := history.ParseLogKey(w.f.Path, info.Key)
		number, isCheckpoint := history.ParseCheckpointKey(w.f.Path, info.Key)
		isBlocks := history.IsRecordsKey(w.f.Path, info.Key)
		if !isLog && !isCheckpoint && !isBlocks {
			if n, ok := history.ParseCopyingKey(w.f.Path, info.Key); ok {
				copying = append(copying, n)
			}
			continue
		}
		w.done.Objects++
		damage := history.CheckObject(w.ctx, w.f.Partition.Store, info.Key)
		if damage != nil && (!history.IsDamage(damage) || w.ctx.Err() != nil) {
			return 0, 0, damage
		}
		if isLog && errors.Is(damage, objstore.ErrNotExist) {
			there, err := w.elsewhere(from, to)
			if err != nil {
				return 0, 0, err
			}
			if there {
				damage = nil
			}
		}
		switch {
		case isLog && odd[info.Key]:
			continue
		case isLog:
			if first == 0 {
				first, w.first = from, from
			}
			if newest = max(newest, to); info.Key == history.LogKey(w.f.Path, from) {
				single = max(single, from)
			}
			w.log.addPresent(from, to)
			w.log.add(from, to, info.Key, damage)
			continue
		case isBlocks:
			w.blocks[info.Key] = damage == nil
		case damage != nil:
			w.diagnosis.checkpoint(number)
		}
		if err := w.damage(info.Key, damage); err != nil {
			return 0, 0, err
		}
	}
	if err := history.Unfinished(w.f.Path, newest, copying); err != nil {
		w.unfinished(err)
	} else if newest > single {
		newest++
	}
	return first, newest, nil
}

// unfinished reports that a copy has not put all of the log. Nothing counts as lost then.
func (w *verifier) unfinished(err error) {
	w.problem(Problem{Object: "backups/" + w.f.Path, Text: err.Error()})
	w.diagnosis.unfinished = err
}

// elsewhere reports whether other objects have commits whose object was merged after the list.
func (w *verifier) elsewhere(from, to uint64) (bool, error) {
	if w.contains != nil && w.contains(from, to) {
		return true, nil
	}
	var err error
	if w.contains, err = w.f.Log().Contains(w.ctx); err != nil {
		return false, err
	}
	return w.contains(from, to), nil
}

// odd reports the objects that readers of the log ignore, and returns their keys.
func (w *verifier) odd() (map[string]bool, error) {
	list, err := w.f.Log().Odd(w.ctx)
	if history.IsDamage(err) && w.ctx.Err() == nil {
		return nil, nil // reported by the check of the object
	}
	keys := map[string]bool{}
	for _, o := range list {
		keys[o.Key] = true
		w.problem(Problem{Object: o.Key, Text: o.Reason + "; ctl_backups compact removes it when it is old enough"})
	}
	return keys, err
}

// lock checks lock.json. A daemon that cannot read it commits nothing.
func (w *verifier) lock() error {
	_, _, err := repository.ReadLock(w.ctx, w.f.Partition.Store, w.f.Path)
	if err == nil || repository.IsStoreError(err) {
		return err
	}
	w.problem(Problem{Object: repository.LockKey(w.f.Path), Text: err.Error()})
	w.diagnosis.lock = true
	return nil
}

// holds checks holds.json. A repair leaves it to a person, because nobody knows what was in it.
func (w *verifier) holds() error {
	if !w.f.ListedHolds() {
		return nil
	}
	_, err := w.f.ReadHolds(w.ctx)
	if err == nil || repository.IsStoreError(err) {
		return err
	}
	w.problem(Problem{Object: repository.HoldsKey(w.f.Path), Text: err.Error() +
		": it counts as a hold. ctl_backups release ends that, and ctl_backups hold places a new hold"})
	return nil
}

// upkeep checks upkeep.json of the backup.
func (w *verifier) upkeep() error {
	key := repository.UpkeepKey(w.f.Path)
	err := repository.CheckUpkeepFile(w.ctx, w.f.Partition.Store, key)
	if err == nil || repository.IsStoreError(err) {
		return err
	}
	w.problem(Problem{Object: key, Text: err.Error() + upkeepAdvice})
	return nil
}

// upkeepAdvice follows the text of an unreadable lease.
const upkeepAdvice = ": no mail depends on it; ctl_backups compact or verify --repair replaces it"

// info checks backup.json. The backup of a newer program is not checked: its objects would look damaged.
func (w *verifier) info() error {
	info, err := w.f.ReadInfo(w.ctx)
	if repository.IsStoreError(err) && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	n := repository.Name{}
	if err == nil {
		n = repository.Name{Kind: info.Kind, Full: info.Name}
	}
	switch {
	case errors.Is(err, repository.ErrVersion):
		return err
	case errors.Is(err, objstore.ErrNotExist):
		err = repository.ErrIncomplete
	case err == nil && n.Path() != w.f.Path:
		err = fmt.Errorf("the object names the backup of %s", n)
	case err == nil:
		return nil
	}
	w.problem(Problem{Object: repository.BackupInfoKey(w.f.Path), Text: err.Error()})
	w.diagnosis.info = true
	return nil
}

// unsound reports whether an object with blocks is damaged or missing. An object that a
// daemon has written after the listing is checked now.
func (w *verifier) unsound(object string) bool {
	sound, known := w.blocks[object]
	if !known {
		sound = history.CheckObject(w.ctx, w.f.Partition.Store, object) == nil
		w.blocks[object] = sound
	}
	return !sound
}
