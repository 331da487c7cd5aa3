package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// stuckAge is how long a pack must have been condemned: two nightly collections had the time to rewrite it.
const stuckAge = 2 * 24 * time.Hour

// stuck is what prevents collection from rewriting condemned packs.
type stuck struct {
	packs []string // damaged
	notes []string // packs with a damaged note
}

// stuck reports condemned packs that are damaged, so that collection keeps them for ever. Perhaps only a
// moment that retention keeps, or a backup that was set aside, needs them: then no message that
// is checked shows the damage. A damaged note about a pack that still exists blocks collection, and no
// reader follows it.
func (w *verifier) stuck(of *Partitions) error {
	found, err := of.stuck(w.ctx, w.f.Partition)
	for _, key := range found.packs {
		w.problem(Problem{Object: key, Text: "damaged, so that ctl_backups compact cannot rewrite it"})
	}
	for _, key := range found.notes {
		note, _ := history.MovedKey(key)
		w.problem(Problem{Object: note, Text: "damaged, so that ctl_backups compact cannot remove " + key})
	}
	w.diagnosis.stuck = found
	return err
}

// stuck returns the damaged packs that have been condemned for long, and the damaged notes about condemned
// packs, or what an earlier call has found.
func (p *Partitions) stuck(ctx context.Context, c repository.Config) (found stuck, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, ok := p.stuckIn[c.Name]; ok {
		return found, nil
	}
	list, info, err := history.ReadCondemned(ctx, c.Store)
	if err != nil {
		if history.IsDamage(err) && ctx.Err() == nil {
			err = nil // reported by the check of that list
		}
		return found, err
	}
	for _, condemned := range list.Packs {
		since, err := untouchedSince(ctx, c.Store, condemned)
		if history.IsDamage(err) && ctx.Err() == nil {
			found.notes = append(found.notes, condemned.Key)
			continue
		}
		if err != nil {
			return found, fmt.Errorf("%s: %w", condemned.Key, err)
		}
		if !info.StoreTime.IsZero() && info.StoreTime.Sub(since) < stuckAge {
			continue
		}
		damaged, err := damagedPack(ctx, c.Store, condemned.Key)
		if err != nil {
			return found, fmt.Errorf("%s: %w", condemned.Key, err)
		}
		if damaged {
			found.packs = append(found.packs, condemned.Key)
		}
	}
	put(&p.stuckIn, c.Name, found)
	return found, nil
}

// untouchedSince returns when a pack was condemned or, if that is later, rewritten. Most condemned packs
// that are used are removed in the night after their rewrite, and need not be read here. The error is
// damage if the note about the pack cannot be read.
func untouchedSince(ctx context.Context, s objstore.Store, c history.CondemnedPack) (time.Time, error) {
	if _, ok := history.MovedKey(c.Key); !ok {
		return c.Since, nil
	}
	_, info, err := history.ReadMoved(ctx, s, c.Key)
	if err != nil || info.Modified.Before(c.Since) {
		return c.Since, ignoreAbsent(err)
	}
	return info.Modified, nil
}

// damagedPack reports whether an object has other bytes than the pack of that name. A pack that is
// absent was removed.
func damagedPack(ctx context.Context, s objstore.Store, key string) (bool, error) {
	if _, err := s.Stat(ctx, key); err != nil {
		return false, ignoreAbsent(err)
	}
	body, _, drop, err := repository.ReadWhole(ctx, s, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer drop()
	is, err := packOf(body)
	return is != key, err
}

// stuckPacks replaces condemned packs that collection cannot rewrite, and notes that it cannot read.
func (r *repairer) stuckPacks(ctx context.Context) error {
	for _, key := range r.diagnosis.stuck.packs {
		if err := r.mendPack(ctx, key); err != nil {
			return fmt.Errorf("repair %s: %w", key, err)
		}
	}
	search := &bodySearch{r: r} // mendNote needs nothing else
	for _, key := range r.diagnosis.stuck.notes {
		if err := search.mendNote(ctx, key); err != nil {
			return fmt.Errorf("repair the note about %s: %w", key, err)
		}
	}
	return nil
}
