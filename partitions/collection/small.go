package collection

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/bits"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/objstore"
)

// Small packs are merged: they are condemned together, and their rewrite copies the named entries of all
// of them to one new pack. A restore then reads one pack instead of many.
//
// A pack is merged only if nothing but checkpoints names it. These get the new places soon (package
// maintenance). A place in the log, or in a backup that was set aside, would cost its readers the note
// as well. Therefore small packs are merged when retention has removed the log that names them.
//
// Packs of about the same size are merged, many at a time, so that the new pack is larger than its class.
// No byte is thus rewritten more often than there are classes. If backups share no bodies, there can be
// many packs with an entry of the same name, which no new pack can have twice. A merge might then give as
// many packs of the same class as before, each week again, so nothing is merged.
//
// The rewrite and the removal of a pack read every object with places of the backups that name it. So
// packs are merged in one night of a week.

const (
	// mergedAtLeast is how many packs of a class are worth a merge. It is twice the ratio of classes, so
	// that the new pack is of a higher class even if half of the entries are dead.
	mergedAtLeast = 8
	// mergedAtMost is how many packs of a class are merged in a night: as many as one count finds.
	mergedAtMost = rewrittenAtOnce
	// mergedAfter is the time from one merge to the next: a week, less what a nightly run may be early.
	mergedAfter = 7*24*time.Hour - 12*time.Hour
	// smallPart is the part of the size of a new pack below which a pack is small.
	smallPart = 4
)

// smallPacks are the packs that can be merged, by class: each has four times the size of the one before.
type smallPacks [32][]objstore.Info

// add notes a used pack that is not on the list. Calls are in order.
func (s *smallPacks) add(info objstore.Info, u packUse, packSize int64) {
	if u.logged || info.Size <= 0 || info.Size > packSize/smallPart {
		return
	}
	class := &s[(bits.Len64(uint64(info.Size))-1)/2]
	if len(*class) < mergedAtMost {
		*class = append(*class, info)
	}
}

// mergeDue reports whether packs are merged in this night.
func (p *pass) mergeDue() bool {
	return !p.private && (p.last == nil || !p.began.Before(p.last.Merged.Add(mergedAfter)))
}

// merge adds small packs to packs that are condemned. The list has room for some in total.
func (s *sparse) merge(ctx context.Context, packs []Pack, room int) ([]Pack, error) {
	if !s.mergeDue() {
		return packs, nil
	}
	chosen := map[Pack]bool{}
	for _, id := range packs {
		chosen[id] = true
	}
	for _, class := range s.small {
		group, err := s.intact(ctx, s.fitting(class, chosen, room-len(packs)))
		if err != nil {
			return nil, err
		}
		if len(group) < mergedAtLeast {
			continue
		}
		for _, info := range group {
			id, _ := packOf(info.Key)
			packs = append(packs, id)
			s.left -= info.Size
			s.out.Thinning.add(info.Size)
		}
		s.out.Merged = s.began.UTC()
	}
	return packs, nil
}

// fitting returns the packs of a class that may still be condemned. The list has room for some.
func (s *sparse) fitting(class []objstore.Info, chosen map[Pack]bool, room int) (group []objstore.Info) {
	left := s.left
	for _, info := range class {
		id, _ := packOf(info.Key)
		if info.Size <= left && len(group) < room && !chosen[id] {
			group, left = append(group, info), left-info.Size
		}
	}
	return group
}

// intact returns the packs whose bytes are as they were put. Otherwise a damaged pack would be condemned,
// could not be rewritten, and its entries would be counted every night. verify reports it.
func (s *sparse) intact(ctx context.Context, group []objstore.Info) ([]objstore.Info, error) {
	if len(group) < mergedAtLeast || s.opt.DryRun {
		return group, nil
	}
	good := make([]bool, len(group))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(countedAhead)
	for i, info := range group {
		g.Go(func() (err error) {
			good[i], err = s.isIntact(gctx, info)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sound := group[:0]
	for i, info := range group {
		if good[i] {
			sound = append(sound, info)
		}
	}
	return sound, nil
}

// isIntact compares the bytes of a pack with their hash.
func (s *sparse) isIntact(ctx context.Context, info objstore.Info) (bool, error) {
	id, ok := packOf(info.Key)
	obj, err := s.store.Get(ctx, info.Key, 0, -1)
	if err == nil {
		sum := sha256.New()
		_, err = io.Copy(sum, obj)
		err = errors.Join(err, obj.Close())
		ok = ok && Pack(sum.Sum(nil)) == id
	}
	if err != nil && failed(err) {
		return false, err
	}
	return ok && err == nil, nil
}
