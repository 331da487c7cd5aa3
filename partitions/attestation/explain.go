package attestation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// absent explains an entry whose backup is not there.
func (j *judge) absent(ctx context.Context, e *Entry) (verdict, error) {
	if e.Number == 0 {
		return verdict{gone: Erased, why: "it had no commit"}, nil
	}
	v, err := j.explain(ctx, e, found(e, Removed, "the backup was removed; its newest commit was %d (%.16s…)", e.Number, e.Hash))
	if err == nil && v.finding != nil {
		v.gone = Removed
	}
	return v, err
}

// explain looks for an explanation of a finding: the backup of the entry was erased or set aside, and another one may be
// in its place.
func (j *judge) explain(ctx context.Context, e *Entry, v verdict) (verdict, error) {
	text, err := j.erased.whole(ctx, j, e)
	if err != nil {
		return verdict{}, err
	}
	if text != "" {
		return verdict{gone: Erased, why: text}, nil
	}
	where, err := j.setAside(ctx, e)
	if err != nil {
		return verdict{}, err
	}
	if where != "" {
		return verdict{gone: Aside, why: "it was set aside: " + where}, nil
	}
	return v, nil
}

// setAside returns where the backup of an entry was set aside; "" = nowhere. The copy must have all that the backup must
// have. If the entry itself was unreadable, the damage is known, and the id is enough.
func (j *judge) setAside(ctx context.Context, e *Entry) (string, error) {
	if isAside(e.Backup) {
		return "", nil
	}
	for base, err := range repository.AsidePlaces(ctx, j.p.Store, e.Backup) {
		if err != nil {
			return "", err
		}
		f, err := repository.FindPath(ctx, j.p, base)
		if err != nil {
			if repository.IsStoreError(err) && !errors.Is(err, repository.ErrNoBackup) {
				return "", err
			}
			continue
		}
		if f.Info.ID != "" && e.ID != "" && f.Info.ID != e.ID {
			continue
		}
		v, err := j.examine(ctx, e, withID(f, e.ID))
		switch {
		case err != nil:
			return "", err
		case v.finding == nil, v.finding.Kind == Unreadable && e.Unreadable != "" && f.Info.ID == e.ID && e.ID != "":
			return base, nil
		}
	}
	return "", nil
}

// partErasure is an erasure of the history of a backup.
type partErasure struct {
	before time.Time
	text   string
}

// erasures are the records of erasures that were at work after a list was made, read once, and only if something needs an
// explanation.
type erasures struct {
	mu   sync.Mutex
	read bool
	// wholes describe erasures of whole backups: by path and id, by path, and by the folder of a copy that was set aside.
	wholes map[string]string
	parts  map[string]*partErasure // by path and id
}

// whole describes the erasure of the backup of an entry; "" = none. The path must fit, too: an id is only a line in
// backup.json. A backup whose backup.json could not be read has no id.
func (r *erasures) whole(ctx context.Context, j *judge, e *Entry) (string, error) {
	if err := r.load(ctx, j); err != nil {
		return "", err
	}
	if text := r.wholes[e.Backup]; text != "" && (isAside(e.Backup) || e.ID == "") {
		return text, nil
	}
	return r.wholes[e.path()+" "+e.ID], nil
}

// path is that of the backup, also if it was set aside.
func (e *Entry) path() string {
	if rest, ok := strings.CutPrefix(e.Backup, repository.AsidePrefix); ok {
		return rest[:max(0, strings.LastIndexByte(rest, '/'))]
	}
	return e.Backup
}

// part returns the erasure of the history of the backup of an entry; nil = none.
func (r *erasures) part(ctx context.Context, j *judge, e *Entry) (*partErasure, error) {
	if err := r.load(ctx, j); err != nil || e.ID == "" {
		return nil, err
	}
	return r.parts[e.path()+" "+e.ID], nil
}

// load reads the records that have changed since the list. A record that cannot be read explains nothing.
func (r *erasures) load(ctx context.Context, j *judge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read {
		return nil
	}
	r.wholes, r.parts = map[string]string{}, map[string]*partErasure{}
	since := j.at
	if !since.IsZero() {
		since = since.Add(-storeclock.Bound)
	}
	for e, err := range repository.Erasures(ctx, j.p, since) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return err
		}
		if err == nil {
			r.add(e, since)
		}
	}
	r.read = true
	return nil
}

// add notes an erasure that has removed something after a time. The erasure of messages changes places, which no list
// names.
func (r *erasures) add(e *repository.Erasure, since time.Time) {
	switch {
	case e.State == repository.ErasureBegun, e.OfMessages(), e.State == repository.ErasurePending && !e.Cancelled.IsZero():
	case e.OfHistory():
		p := &partErasure{e.Before, cut(fmt.Sprintf("its history before %s was erased by %s at %s (%s): %s", shown(e.Before), e.By, shown(e.Since), e.ID, e.Reason))}
		for _, id := range e.IDs {
			key := e.Backup + " " + id
			if was := r.parts[key]; was == nil || was.before.Before(p.before) {
				r.parts[key] = p
			}
		}
	case e.Removed.IsZero() || e.Removed.After(since):
		text := cut(fmt.Sprintf("it was erased by %s at %s (%s): %s", e.By, shown(e.Since), e.ID, e.Reason))
		for _, id := range e.IDs {
			r.wholes[e.Backup+" "+id] = text
		}
		for _, place := range append(e.Copies, e.Backup) {
			r.wholes[place] = text
		}
	}
}
