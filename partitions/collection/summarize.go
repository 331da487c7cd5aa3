package collection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Summarize updates the uses of a backup, so that the next pass does not read the
// objects that are new. It reads nothing else.
func Summarize(ctx context.Context, f *repository.Found, now time.Time) error {
	b := backup{store: f.Partition.Store, prefix: repository.BackupPrefix(f.Path), hasUses: true, now: now, putFrom: 1}
	out, err := b.count(ctx)
	if err != nil {
		return fmt.Errorf("summarize the uses of %s: %w", f.Path, err)
	}
	return out.packs.close()
}

// backup is a backup whose packs are to be found.
type backup struct {
	store   objstore.Store
	prefix  string
	listed  []objstore.Info     // its objects, if that is not nil
	hasUses bool                // the list has shown uses, or has not been made
	now     time.Time           // host's clock
	putFrom int                 // put the uses from so many new objects on; 0 = never
	wanted  map[Pack]bool       // packs whose named entries are to be found, or nil
	seen    map[string]*seenUse // objects that this run has read before
	// expected are objects that a list has shown. Another list must show them, too: a backup that was lost and has begun again
	// meanwhile names other packs.
	expected []objstore.Info
}

// counted is what a backup names.
type counted struct {
	packs *usageSet
	named *namingSet    // of the wanted packs
	doubt map[Pack]bool // wanted packs that unreadable commits have named
	print [32]byte      // of the objects that were listed for it
	fresh int           // objects that the old uses lack
	tip   tip
}

// tip is the newest single commit.
type tip struct {
	number uint64
	random string // in its header; "" = unknown
}

// countTries is how often a backup is listed that does not fit its list. A daemon, a merge
// or retention may have replaced objects meanwhile.
const countTries = 3

// count finds the packs. It returns an error if it cannot determine all of them. The caller
// closes the sets.
func (b *backup) count(ctx context.Context) (*counted, error) {
	for try := 1; ; try++ {
		out, err := b.once(ctx)
		switch {
		case err == nil || try == countTries:
			return out, err
		case errors.Is(err, errUses):
			b.hasUses = false
		case errors.Is(err, errChanged):
			b.listed, b.hasUses = nil, true
		default:
			return nil, err
		}
	}
}

func (b *backup) once(ctx context.Context) (_ *counted, err error) {
	r := &reader{store: b.store, prefix: b.prefix, packs: newUsageSet(packsOfBackup), wanted: b.wanted, seen: b.seen, expected: slices.Clone(b.expected)}
	if b.wanted != nil {
		r.named, r.doubt = newNamingSet(namingsOfBackup), map[Pack]bool{}
	}
	defer func() {
		if r.old != nil {
			err = errors.Join(err, r.old.close())
		}
		if err != nil {
			err = errors.Join(err, r.packs.close())
		}
		if err != nil && r.named != nil {
			err = errors.Join(err, r.named.close())
		}
	}()
	if b.hasUses {
		r.old, err = openUses(ctx, b.store, b.prefix)
		if errors.Is(err, objstore.ErrNotExist) || isUseless(err) {
			r.old, err = nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if b.putFrom > 0 {
		if r.uses, err = newUsesWriter(b.now); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.uses.close()) }()
	}
	if err := r.run(ctx, b.list(ctx)); err != nil {
		return nil, err
	}
	if b.putFrom > 0 && r.fresh >= b.putFrom || r.old != nil && b.putFrom == 1 && r.old.n != r.lines {
		if err := r.uses.put(ctx, b.store, b.prefix); err != nil {
			return nil, err
		}
	}
	return &counted{r.packs, r.named, r.doubt, r.print.value(), r.fresh, r.tip}, nil
}

// list yields the objects of the backup.
func (b *backup) list(ctx context.Context) iter.Seq2[objstore.Info, error] {
	if b.listed == nil {
		return b.store.List(ctx, b.prefix, "")
	}
	return func(yield func(objstore.Info, error) bool) {
		for _, info := range b.listed {
			if !yield(info, nil) {
				return
			}
		}
	}
}
