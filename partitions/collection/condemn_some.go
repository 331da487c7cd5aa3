package collection

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// condemnedAtOnce is how many packs Condemn adds with one put of the list.
const condemnedAtOnce = 10_000

// ErrFull reports that condemned.json has no room for more packs.
var ErrFull = errors.New("the list of condemned packs is full: run ctl_backups compact -A, and try again a day later")

// Condemn puts packs on condemned.json, whether they are used or not: an hour later no writer
// refers to them any more, so that those who use them can be counted. lease is that of
// BeginCollection. Condemn reads the list back.
func Condemn(ctx context.Context, part repository.Config, lease *repository.Upkeep, packs iter.Seq2[Pack, error]) error {
	last, err := Last(ctx, part.Store)
	if err != nil {
		return err
	}
	p := &pass{store: part.Store, opt: Options{Lock: lease.Options}, lease: lease, last: last}
	var some []Pack
	for id, err := range packs {
		if err != nil {
			return err
		}
		if some = append(some, id); len(some) == condemnedAtOnce {
			if err := p.condemn(ctx, some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	return p.condemn(ctx, some)
}

func (p *pass) condemn(ctx context.Context, packs []Pack) error {
	if len(packs) == 0 {
		return nil
	}
	now, err := p.certain(ctx)
	if err != nil {
		return err
	}
	if err := p.changeList(ctx, packs, nil, now); err != nil {
		return err
	}
	list, _, err := history.ReadCondemned(ctx, p.store)
	if err != nil {
		return err
	}
	for _, id := range packs {
		if key := history.PackKey(id); !list.Has(key) {
			return fmt.Errorf("%s: %s: %w", history.CondemnedKey, key, ErrFull)
		}
	}
	return nil
}
