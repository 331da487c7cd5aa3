package collection

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// erased is what erasures have removed. A copy that was set aside before is no backup in use: if it
// counted as one, an erasure with several copies would hide that other backups are missing.
type erased struct {
	used int // backups that were in use, one for each record at most
	all  int // these, and copies that were set aside
	// names are the backups that were erased: their paths, each with every id in the record, and when that was.
	names map[erasedName]time.Time
	// remade are the prefixes of backups that may have no object from before, because messages were erased from them:
	// that replaces even backup.json.
	remade map[string]bool
}

// erasedName is a backup in the record of an erasure.
type erasedName struct{ path, id string }

// anyID is an id that fits a record without ids: no backup.json could be read.
const anyID = "?"

// has reports whether a backup was erased since a pass has found it. A record with ids shows nothing about a backup whose id is
// unknown.
func (e erased) has(was *registered) bool {
	for _, id := range []string{was.ID, anyID} {
		if e.names[erasedName{was.Backup, id}].After(was.Time.Add(-storeclock.Bound)) {
			return true
		}
	}
	return false
}

func (e erased) add(r *repository.Erasure) {
	ids := r.IDs
	if len(ids) == 0 {
		ids = []string{anyID}
	}
	for _, id := range ids {
		if n := (erasedName{r.Backup, id}); r.Cut.After(e.names[n]) {
			e.names[n] = r.Cut
		}
	}
}

// erasedSince counts what erasures have removed since the last pass: this is not missing. An
// erasure that was finished about then may be counted twice.
func (p *pass) erasedSince(ctx context.Context) (erased, error) {
	var since time.Time
	if p.last != nil {
		since = p.last.Time
		if r := p.register; r != nil && r.Time.Before(since) {
			since = r.Time
		}
		since = since.Add(-storeclock.Bound)
	}
	return p.erased(ctx, since)
}

// erased counts what erasures have removed after a time.
func (p *pass) erased(ctx context.Context, since time.Time) (n erased, err error) {
	n.remade, n.names = map[string]bool{}, map[erasedName]time.Time{}
	for e, err := range repository.Erasures(ctx, repository.Config{Store: p.store}, since) {
		if err != nil && e == nil {
			return n, err
		}
		if err != nil {
			continue // compact reports it
		}
		if e.OfMessages() && e.State != repository.ErasureBegun && (e.Since.After(since) || e.Erased.After(since)) {
			n.remade[repository.BackupPrefix(e.Backup)] = true
		}
		if len(e.Copies) == 0 {
			continue
		}
		if e.Cut.After(since) { // it was set aside shortly before
			n.used++
			n.add(e)
		}
		if e.Removed.After(since) {
			n.all += len(e.Copies)
		}
	}
	return n, nil
}

// emptied reports whether erasures explain that there is no backup.
func (p *pass) emptied(ctx context.Context) (bool, error) {
	if p.last != nil && (p.last.Backups > p.gone.used || p.last.copies() > p.gone.all) {
		return false, nil
	}
	n, err := p.erased(ctx, time.Time{})
	return n.all > 0, err
}
