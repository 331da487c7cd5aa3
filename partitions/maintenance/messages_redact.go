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
// have been merged.
func (r *retainer) redactAll(ctx context.Context) error {
	if err := r.soundLog(ctx); err != nil {
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

// redactTries is how often redactObjects looks again, because an object has changed meanwhile.
const redactTries = 3

// redactObjects replaces the places in the objects that were listed. It reports whether it has changed anything.
//
// A place that is replaced may be the only name of a pack, and a delayed request may have put it since the packs got on
// the list. So it first finds the objects with places of the messages, then names the packs again, and then
// replaces exactly these versions of the objects.
func (r *retainer) redactObjects(ctx context.Context) (changed bool, err error) {
	for range redactTries {
		found, err := r.toRedact(ctx)
		if err != nil || len(found.segments)+len(found.checkpoints) == 0 {
			return changed, err
		}
		r.cutBegun, changed = false, true
		if err := r.beginCutting(ctx); err != nil {
			return changed, err
		}
		err = r.redactFound(ctx, found)
		if !errors.Is(err, errOtherVersion) {
			return changed, err
		}
		if err := r.soundLog(ctx); err != nil {
			return changed, err
		}
	}
	return changed, errOtherVersion
}

// errOtherVersion reports an object that has changed since it was read.
var errOtherVersion = errors.New("objects of the backup change meanwhile: run erase again")

// toRedact are the objects with places of the messages, and their versions.
type toRedact struct {
	segments    []logObject
	checkpoints []checkpointObject
	versions    map[string]string // by key: the ETag before the object was read
}

// toRedact finds the objects with places of the messages.
func (r *retainer) toRedact(ctx context.Context) (*toRedact, error) {
	out := &toRedact{versions: map[string]string{}}
	for _, o := range r.have.log {
		if !o.segment || o.from >= r.messages.Commit {
			continue
		}
		key := o.key(r.f.Path)
		etag, hit, err := r.versionWith(ctx, key, func() (hit bool, err error) { return r.segmentHas(ctx, o) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if hit {
			out.segments, out.versions[key] = append(out.segments, o), etag
		}
	}
	blocks := map[string]bool{}
	for _, c := range r.have.checkpoints {
		key := history.CheckpointKey(r.f.Path, c.number)
		etag, hit, err := r.versionWith(ctx, key, func() (hit bool, err error) { return r.checkpointHas(ctx, c.number, blocks) })
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		if hit {
			out.checkpoints, out.versions[key] = append(out.checkpoints, c), etag
		}
	}
	return out, nil
}

// versionWith calls has, and returns the ETag that the object had before.
func (r *retainer) versionWith(ctx context.Context, key string, has func() (bool, error)) (etag string, hit bool, err error) {
	info, err := r.store.Stat(ctx, key)
	if err == nil {
		hit, err = has()
	}
	return info.ETag, hit, err
}

// segmentHas reports whether a segment has a place that is replaced.
func (r *retainer) segmentHas(ctx context.Context, o logObject) (hit bool, err error) {
	for c, err := range r.segment(ctx, o) {
		if err != nil {
			return hit, err
		}
		for p, err := range c.Places() {
			if err != nil {
				return hit, err
			}
			hit = hit || r.replaced(c.Header().Number, p) != p
		}
	}
	return hit, nil
}

// checkpointHas reports whether a checkpoint has a place that is replaced. blocks are the answers for blocks that
// several checkpoints share.
func (r *retainer) checkpointHas(ctx context.Context, n uint64, blocks map[string]bool) (hit bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, err
	}
	defer m.Close()
	hit, err = m.AnyPlace(blocks, r.erases)
	if err != nil || !hit {
		return false, err
	}
	stay, err := r.staying(m)
	if err != nil || len(stay) == 0 {
		return hit, err
	}
	return m.AnyPlace(map[string]bool{}, func(p history.Place) bool { return r.erases(p) && !stay[p.Chunk] })
}

// redactFound replaces the places in objects, unless these have changed since they were found.
func (r *retainer) redactFound(ctx context.Context, found *toRedact) error {
	for _, o := range found.segments {
		key := o.key(r.f.Path)
		if err := r.redactSegment(ctx, o, found.versions[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	seen, moved := map[string]bool{}, new(history.MovedPlaces)
	for _, c := range found.checkpoints {
		if err := r.redactCheckpoint(ctx, c.number, found.versions[history.CheckpointKey(r.f.Path, c.number)], seen, moved); err != nil {
			return fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
	}
	return nil
}

// isVersion returns errOtherVersion if an object has another ETag.
func (r *retainer) isVersion(ctx context.Context, key, etag string) error {
	info, err := r.store.Stat(ctx, key)
	if err == nil && info.ETag != etag {
		err = errOtherVersion
	}
	return err
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
		if !hit {
			continue
		}
		if err := r.fitsWhole(ctx, o); err != nil {
			return nil, err
		}
		r.redact.large[o.from] = o.size > largestMerged
		left = &singleError{o.from, ready}
	}
	return left, nil
}

// fitsWhole returns an error if a single commit is too large to be merged.
func (r *retainer) fitsWhole(ctx context.Context, o logObject) error {
	dir, err := r.objects.Directory(ctx, o.key(r.f.Path))
	if err != nil {
		return err
	}
	var total int64
	for _, e := range dir.Entries {
		total += e.Size
	}
	if total > mostWhole {
		err = fmt.Errorf("commit %d has the message, and %d bytes: only commits of at most %d bytes can be rewritten: erase the whole backup instead", o.from, total, mostWhole)
	}
	return err
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

// redactSegment puts a segment again, over the version with this ETag, without the places of the messages, and compares
// it commit by commit.
func (r *retainer) redactSegment(ctx context.Context, o logObject, etag string) error {
	key := o.key(r.f.Path)
	want, err := r.digests(ctx, o, r.replaced)
	if err != nil {
		return err
	}
	b := history.NewSegmentBuilder(r.f.Path, r.o.Pack)
	for c, err := range r.segment(ctx, o) {
		if err != nil {
			return err
		}
		n := c.Header().Number
		if err := b.Add(c, func(p history.Place) (history.Place, error) { return r.replaced(n, p), nil }); err != nil {
			return err
		}
	}
	same, object, err := b.Finish()
	if err == nil && same != key {
		err = fmt.Errorf("%w: it has the commits of %s", history.ErrCorrupt, same)
	}
	if err == nil {
		err = r.isVersion(ctx, key, etag)
	}
	if err != nil {
		return err
	}
	_, put := r.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfMatch: etag})
	if errors.Is(put, objstore.ErrPrecondition) {
		put = errors.Join(put, errOtherVersion)
	}
	have, err := r.digests(ctx, o, keepPlace)
	if err == nil && !slices.Equal(have, want) {
		err = errors.Join(put, fmt.Errorf("%w: it could not be replaced, or has other commits or places than before", history.ErrCorrupt))
	}
	return err
}

// keepPlace is for digests: no place is replaced.
func keepPlace(_ uint64, p history.Place) history.Place { return p }

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

// digests reads a segment, with other places.
func (r *retainer) digests(ctx context.Context, o logObject, place func(uint64, history.Place) history.Place) (list []digest, err error) {
	for c, err := range r.segment(ctx, o) {
		if err != nil {
			return nil, err
		}
		d := digest{number: c.Header().Number}
		if d.hash, err = c.Hash(); err != nil {
			return nil, err
		}
		sum := sha256.New()
		for p, err := range c.Places() {
			if err != nil {
				return nil, err
			}
			addPlace(sum, place(d.number, p))
		}
		sum.Sum(d.places[:0])
		list = append(list, d)
	}
	return list, nil
}

func addPlace(sum hash.Hash, p history.Place) {
	sum.Write(p.Chunk[:])
	fmt.Fprintf(sum, "%q %q\n", p.Object, p.Entry)
}

// redactCheckpoint puts a checkpoint again without the places of the messages, unless it has another ETag. Its state
// stays, and so do the places of messages that have arrived after the event. moved are blocks that were changed in
// other checkpoints where no such places stay.
func (r *retainer) redactCheckpoint(ctx context.Context, n uint64, etag string, seen map[string]bool, moved *history.MovedPlaces) error {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return err
	}
	defer m.Close()
	stay, err := r.staying(m)
	if err != nil {
		return err
	}
	if len(stay) > 0 {
		moved = new(history.MovedPlaces)
	}
	_, err = m.MovePlaces(moved, func(p history.Place) (history.Place, error) {
		if stay[p.Chunk] {
			return p, nil
		}
		return r.replaced(0, p), nil
	})
	if err == nil {
		err = r.isVersion(ctx, history.CheckpointKey(r.f.Path, n), etag)
	}
	if err != nil {
		return err
	}
	p := proof{retainer: r, m: m, seen: seen}
	return p.replace(ctx, n, etag)
}
