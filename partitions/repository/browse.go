package repository

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore"
)

const (
	// browsedAhead is how many backups are looked up at a time.
	browsedAhead = 32
	// unansweredMost is how many backups in a row may fail before the partition counts as
	// unreadable: each attempt takes seconds, and there may be thousands.
	unansweredMost = 32
)

// BrowseAll yields the backups of all partitions, one partition after the other, in order of
// their keys. It omits copies that a move has left or is still making. A partition that cannot
// be read yields a single error, an UnaskedError; the backups of the others follow. An error of
// one backup comes with a Found that has only its Path. A page of the store's list shows hundreds
// of backups; beyond that BrowseAll sends one request for each, several at a time.
func BrowseAll(ctx context.Context, parts []Config) iter.Seq2[*Found, error] {
	return BrowseKnown(ctx, parts, nil)
}

// BrowseKnown is BrowseAll for a program that runs again and again on the same host: it sends no
// request for a backup whose backup.json is unchanged since the last run. open opens the Known
// of a partition. It may be nil, and may return nil.
func BrowseKnown(ctx context.Context, parts []Config, open func(Config) *Known) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		for i, p := range parts {
			var k *Known
			if open != nil {
				k = open(p)
			}
			if !browseKnown(ctx, parts, i, k, yield) {
				return
			}
		}
	}
}

// browseKnown remembers the backups of a partition that it has yielded. If it has not come to the end of
// the partition, the facts about the others stay.
func browseKnown(ctx context.Context, parts []Config, i int, k *Known, yield func(*Found, error) bool) bool {
	if k == nil {
		return browse(ctx, parts, i, "", nil, yield)
	}
	// Without it, a run only sends more requests.
	defer func() { _ = k.Close() }()
	whole, sound := true, true
	more := browse(ctx, parts, i, "", k, func(f *Found, err error) bool {
		if !yield(f, err) {
			return false
		}
		whole = whole && f != nil && ctx.Err() == nil
		if err == nil && whole && sound {
			sound = k.note(f) == nil
		}
		return true
	})
	switch {
	case !sound:
	case more && whole:
		if k.Settle != nil {
			k.Settle()
		}
		_ = k.Keep()
	default:
		_ = k.KeepPart()
	}
	return more
}

// Browse is BrowseAll for one partition, whether its backups are used there or not.
func Browse(ctx context.Context, p Config) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) { browse(ctx, []Config{p}, 0, "", nil, yield) }
}

// BrowseAfter is BrowseAll for parts[i], from the backup after a path; "" = from the first one.
func BrowseAfter(ctx context.Context, parts []Config, i int, path string) iter.Seq2[*Found, error] {
	after := ""
	if path != "" {
		after = afterBackup(path)
	}
	return func(yield func(*Found, error) bool) { browse(ctx, parts, i, after, nil, yield) }
}

// CountBackups returns how many backups a partition has. It only lists. Copies that a move has left
// count, too.
func CountBackups(ctx context.Context, s objstore.Store) (n int, err error) {
	for _, err := range scan(ctx, s, "") {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// browse yields the backups that are used in parts[i], after a key. It returns false if yield did.
func browse(ctx context.Context, parts []Config, i int, after string, k *Known, yield func(*Found, error) bool) bool {
	p := parts[i]
	unanswered := 0
	for b := range inorder.Map(ctx, inorder.Limit[browsed]{Count: browsedAhead}, scanned(ctx, parts, i, after, k), func(ctx context.Context, _ <-chan struct{}, b browsed) browsed {
		return b.lookUp(ctx, parts, p)
	}) {
		if b.skip {
			continue
		}
		if !yield(b.found, b.err) {
			return false
		}
		if unanswered++; !IsStoreError(b.err) {
			unanswered = 0
		}
		if unanswered == unansweredMost {
			return yield(nil, UnaskedError{p, b.err})
		}
	}
	return true
}

// browsed is a backup that a scan has found, or the error that ended the scan.
type browsed struct {
	listing *listing
	copied  bool         // another partition may have a copy
	known   *knownBackup // nil: nothing is remembered
	found   *Found
	err     error
	skip    bool // the backup is used in another partition
}

// scanned scans parts[i], and on the way the other partitions for copies.
func scanned(ctx context.Context, parts []Config, i int, after string, k *Known) iter.Seq[browsed] {
	return func(yield func(browsed) bool) {
		var others []*cursor
		for j, other := range parts {
			if j != i {
				c := newCursor(ctx, other.Store, after)
				defer c.stop()
				others = append(others, c)
			}
		}
		for l, err := range scan(ctx, parts[i].Store, after) {
			if err != nil {
				yield(browsed{err: UnaskedError{parts[i], err}})
				return
			}
			b := browsed{listing: l}
			if k != nil {
				b.known = k.find(l)
			}
			for _, c := range others {
				b.copied = c.mayHave(l.path) || b.copied
			}
			if !yield(b) {
				return
			}
		}
	}
}

// lookUp reads the backup's name, and finds out whether it is used in partition p.
func (b browsed) lookUp(ctx context.Context, parts []Config, p Config) browsed {
	if b.err != nil {
		return b
	}
	if b.known != nil && b.known.Path != "" {
		b.found = &Found{Partition: p, Path: b.listing.path, listed: b.listing, Info: b.known.Info, read: b.known.Version}
	} else {
		b.found, b.err = readFound(ctx, p, b.listing)
	}
	b.found.known = b.known
	if b.err == nil && b.copied {
		var here bool
		here, b.err = b.found.usedHere(ctx, parts)
		b.skip = b.err == nil && !here
	}
	if errors.Is(b.err, ErrIncomplete) {
		if _, none := FindAny(ctx, parts, b.found.Path); none == nil {
			b.skip = true
		}
	}
	return b
}

// usedHere reports whether the backup is used in this partition. If another partition
// cannot be read, the end of the log here shows whether the backup was moved out.
func (f *Found) usedHere(ctx context.Context, parts []Config) (bool, error) {
	copies, unasked, err := CopiesOf(ctx, parts, f.Name())
	if err != nil {
		return false, err
	}
	if len(unasked) > 0 && len(copies) == 1 && !isUnasked(f.Partition, unasked) {
		end, err := f.LogEnd(ctx)
		return err != nil || !end.Sealed(), nil // the caller will meet an error in the log by itself
	}
	at, err := Current(ctx, copies)
	return at != nil && at.Partition.Name == f.Partition.Name, err
}

// ErrIncomplete reports objects of a backup without a backup.json.
var ErrIncomplete = errors.New("backup.json is missing: repeat the move, export or import that was interrupted, or run ctl_backups verify --repair")

func readFound(ctx context.Context, p Config, l *listing) (*Found, error) {
	f := &Found{Partition: p, Path: l.path, listed: l}
	info, read, err := readBackupInfo(ctx, f.Listed().Partition.Store, l.path)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return f, fmt.Errorf("partition %s: backups/%s: %w", p.Name, l.path, ErrIncomplete)
	case err != nil:
		return f, fmt.Errorf("partition %s: %w", p.Name, err)
	}
	f.Info, f.read = *info, read
	return f, nil
}

// IsStoreError reports whether a request to the store failed, so that others will fail too.
func IsStoreError(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e)
}

// NextBackup returns the path of the first backup after a key, or "" at the end.
func NextBackup(ctx context.Context, s objstore.Store, after string) (string, error) {
	for info, err := range s.List(ctx, "backups/", after) {
		if err != nil {
			return "", err
		}
		if path := backupOf(info.Key); path != "" {
			return path, nil
		}
	}
	return "", nil
}
