package attestation

import (
	"context"
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// atOnce is how many backups are looked at at a time.
	atOnce = 32
	// bytesAtOnce bounds the logs that are read at a time; a backup with a longer log is read alone.
	bytesAtOnce = 16 << 20
)

// pair is a backup in a list, in the bucket, or in both.
type pair struct {
	place  string            // as Entry.Backup
	listed *Entry            // nil = the list does not have it
	found  *repository.Found // below backups/, it has no Info yet; nil = it is not there, or err
	err    error             // it was set aside, and its description cannot be read
	fatal  error             // the partition or the list cannot be read any further
}

func (p pair) there() bool { return p.found != nil || p.err != nil }

// weight is the size of the log, or a guess.
func (p pair) weight() int64 {
	if p.found == nil {
		return 0
	}
	if n, ok := p.found.ListedBytes(); ok {
		return n
	}
	return bytesAtOnce / 4
}

// eachPair calls look for all pairs, several at a time, and use for the results in order.
func eachPair[Out any](ctx context.Context, p repository.Config, l *List, look func(context.Context, pair) Out, use func(Out) error) error {
	var fatal error
	in := func(yield func(pair) bool) {
		for one := range pairs(ctx, p, l) {
			if fatal = one.fatal; fatal != nil || !yield(one) {
				return
			}
		}
	}
	limit := inorder.Limit[pair]{Count: atOnce, Weight: bytesAtOnce, Of: pair.weight}
	for out := range inorder.Map(ctx, limit, in, func(ctx context.Context, _ <-chan struct{}, one pair) Out { return look(ctx, one) }) {
		err := ctx.Err()
		if err == nil {
			err = use(out)
		}
		if err != nil {
			return err
		}
	}
	if fatal == nil {
		fatal = ctx.Err()
	}
	return fatal
}

// pairs joins a list, which may be nil, with the backups of a partition. Both are in the order of their keys, so that
// only one of each is in memory.
func pairs(ctx context.Context, p repository.Config, l *List) iter.Seq[pair] {
	return func(yield func(pair) bool) {
		next, stop := iter.Pull2(entriesOf(l))
		defer stop()
		e, err, more := next()
		for one := range there(ctx, p) {
			for more && err == nil && one.fatal == nil && order(e.Backup) < order(one.place) {
				if !yield(pair{place: e.Backup, listed: e}) {
					return
				}
				e, err, more = next()
			}
			if err == nil && more && one.fatal == nil && e.Backup == one.place {
				one.listed = e
				e, err, more = next()
			}
			if !yield(one) || one.fatal != nil {
				return
			}
		}
		for ; more; e, err, more = next() {
			if err != nil {
				yield(pair{fatal: err})
				return
			}
			if !yield(pair{place: e.Backup, listed: e}) {
				return
			}
		}
	}
}

// entriesOf yields the backups that were there when the list was made, and those whose removal nobody has accepted.
func entriesOf(l *List) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if l == nil {
			return
		}
		for e, err := range l.Entries() {
			if err == nil && e.Gone != "" && len(e.Findings) == 0 {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// there yields all backups of a partition: those below backups/, also copies that a move has left, and backups that were
// set aside.
func there(ctx context.Context, p repository.Config) iter.Seq[pair] {
	return func(yield func(pair) bool) {
		for f, err := range repository.BrowseListed(ctx, p) {
			if err != nil {
				yield(pair{fatal: err})
				return
			}
			if !yield(pair{place: f.Path, found: f}) {
				return
			}
		}
		for place, err := range repository.AsidePlaces(ctx, p.Store, "") {
			if err != nil {
				yield(pair{fatal: repository.UnaskedError{Partition: p, Err: err}})
				return
			}
			f, err := repository.FindPath(ctx, p, place)
			if errors.Is(err, repository.ErrNoBackup) {
				continue // being removed, or foreign
			}
			if !yield(pair{place: place, found: f, err: err}) {
				return
			}
		}
	}
}
