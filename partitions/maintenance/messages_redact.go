package maintenance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// redactAll replaces the places of the messages in the segments, and then in the checkpoints. All commits with such places
// have been merged. It surveys the objects that it changes: a message may have arrived since the event, and be in a
// checkpoint that was put since then.
func (r *retainer) redactAll(ctx context.Context) error {
	if err := r.surveyMessages(ctx); err != nil {
		return err
	}
	left, err := r.inlineMessages(ctx)
	if err == nil && left != nil {
		err = left
	}
	if err != nil {
		return err
	}
	_, err = r.redactObjects(ctx)
	return err
}

// redactObjects reports whether it has changed anything.
func (r *retainer) redactObjects(ctx context.Context) (changed bool, err error) {
	for _, o := range r.have.log {
		if !o.segment || o.from >= r.messages.Commit {
			continue
		}
		did, err := r.redactSegment(ctx, o)
		if err != nil {
			return changed, fmt.Errorf("%s: %w", o.key(r.f.Path), err)
		}
		changed = changed || did
	}
	seen := map[string]bool{}
	for _, c := range r.have.checkpoints {
		did, err := r.redactCheckpoint(ctx, c.number, seen)
		if err != nil {
			return changed, fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		changed = changed || did
	}
	return changed, nil
}

// redactAgain is redactAll for Sweep. A commit that a delayed request has put again is left to the merge, which removes
// it as soon as it may by its age.
func (r *retainer) redactAgain(ctx context.Context, out *Swept) (changed bool, err error) {
	if err := r.surveyMessages(ctx); err != nil {
		return false, err
	}
	left, err := r.inlineMessages(ctx)
	if err != nil {
		return false, err
	}
	if left != nil {
		out.wait(left.at, left.Error())
	}
	return r.redactObjects(ctx)
}

// singleError reports a single commit with a place of a message. Its bytes never change: it has to be merged.
type singleError struct {
	n  uint64
	at time.Time // when it can be merged; zero = now
}

func (e *singleError) Error() string {
	if e.at.IsZero() {
		return fmt.Sprintf("commit %d has the message, and could not be merged: run ctl_backups verify", e.n)
	}
	return fmt.Sprintf("commit %d has the message, and is too young to be changed, or an earlier commit is: that is possible after %s", e.n, e.at.UTC().Format(time.RFC3339))
}

func (e *singleError) Unwrap() error {
	if e.at.IsZero() {
		return nil
	}
	return ErrTooYoung
}

// inlineMessages looks at the single commits. It returns the last one with a place of a message, or nil, and notes the
// large ones. Commits are merged in order, so that each waits for those before it.
func (r *retainer) inlineMessages(ctx context.Context) (left *singleError, err error) {
	const day = 24 * time.Hour
	var ready time.Time
	for _, o := range r.have.log {
		if o.segment || r.messages.Commit > 0 && o.from >= r.messages.Commit {
			continue
		}
		young := o.modified.IsZero() || !o.modified.Before(r.mergeBefore)
		if at := o.modified.UTC().Truncate(day).Add(day + r.o.LogMinAge); (young || r.sweeps) && at.After(ready) {
			ready = at
		}
		hit, err := r.hasErased(ctx, o.from)
		if err != nil {
			return nil, err
		}
		if hit {
			r.redact.large[o.from] = o.size > largestMerged
			left = &singleError{o.from, ready}
		}
	}
	return left, nil
}

// hasErased reports whether a single commit has a place of a message.
func (r *retainer) hasErased(ctx context.Context, n uint64) (hit bool, err error) {
	err = history.ReadCommit(ctx, r.store, r.f.Path, n, func(c *history.CommitReader) error {
		for p, err := range c.Places() {
			if err != nil {
				return err
			}
			hit = hit || r.erases(p)
		}
		return nil
	})
	return hit, err
}

// digest is what stays of a commit when a segment is put again.
type digest struct {
	number uint64
	hash   string
	places [sha256.Size]byte
}

// redactSegment puts a segment again without the places of the messages, and compares it commit by commit.
func (r *retainer) redactSegment(ctx context.Context, o logObject) (changed bool, err error) {
	key := o.key(r.f.Path)
	info, err := r.store.Stat(ctx, key)
	if err != nil {
		return false, err
	}
	want, hits, err := r.digests(ctx, o, r.replaced)
	if err != nil || hits == 0 {
		return false, err
	}
	if err := r.beginCutting(ctx); err != nil {
		return false, err
	}
	b := history.NewSegmentBuilder(r.f.Path, r.o.Pack)
	for c, err := range r.segment(ctx, o) {
		if err != nil {
			return false, err
		}
		n := c.Header().Number
		if err := b.Add(c, func(p history.Place) (history.Place, error) { return r.replaced(n, p), nil }); err != nil {
			return false, err
		}
	}
	same, object, err := b.Finish()
	if err == nil && same != key {
		err = fmt.Errorf("%w: it has the commits of %s", history.ErrCorrupt, same)
	}
	if err != nil {
		return false, err
	}
	_, put := r.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfMatch: info.ETag})
	have, left, err := r.digests(ctx, o, r.replaced)
	if err == nil && (left > 0 || !slices.Equal(have, want)) {
		err = errors.Join(put, fmt.Errorf("%w: it could not be replaced, or has other commits or places than before", history.ErrCorrupt))
	}
	return err == nil, err
}

func (r *retainer) segment(ctx context.Context, o logObject) iter.Seq2[*history.CommitReader, error] {
	return history.ReadSegment(ctx, r.store, r.f.Path, o.from, o.to)
}

// replaced returns the place of a chunk in commit n after the erasure.
func (r *retainer) replaced(n uint64, p history.Place) history.Place {
	if p.Erased() {
		return p
	}
	if e, is := r.erasedPlace(n, p.Chunk); is {
		return e
	}
	return p
}

// digests reads a segment, with other places, and counts the places that are replaced.
func (r *retainer) digests(ctx context.Context, o logObject, place func(uint64, history.Place) history.Place) (list []digest, hits int, err error) {
	for c, err := range r.segment(ctx, o) {
		if err != nil {
			return nil, 0, err
		}
		d := digest{number: c.Header().Number}
		if d.hash, err = c.Hash(); err != nil {
			return nil, 0, err
		}
		sum := sha256.New()
		for p, err := range c.Places() {
			if err != nil {
				return nil, 0, err
			}
			now := place(d.number, p)
			if now != p {
				hits++
			}
			addPlace(sum, now)
		}
		sum.Sum(d.places[:0])
		list = append(list, d)
	}
	return list, hits, nil
}

func addPlace(sum hash.Hash, p history.Place) {
	sum.Write(p.Chunk[:])
	fmt.Fprintf(sum, "%q %q\n", p.Object, p.Entry)
}

// redactCheckpoint puts a checkpoint again without the places of the messages. Its state stays, and so do the places of
// messages that have arrived after the event.
func (r *retainer) redactCheckpoint(ctx context.Context, n uint64, seen map[string]bool) (changed bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, err
	}
	defer m.Close()
	stay, err := r.stayIn(m)
	if err != nil {
		return false, err
	}
	var blocks history.MovedPlaces // not shared with other checkpoints, where other places may stay
	places, err := m.MovePlaces(&blocks, func(p history.Place) (history.Place, error) {
		if stay[p.Chunk] {
			return p, nil
		}
		return r.replaced(0, p), nil
	})
	if err != nil || places == 0 {
		return false, err
	}
	if err := r.beginCutting(ctx); err != nil {
		return false, err
	}
	p := proof{retainer: r, m: m, seen: seen}
	return true, p.write(ctx, n)
}
