package collection

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Share is the part of the bodies of a backup that other backups of its partition name, too.
type Share struct {
	Bytes   int64     // stored bytes of these bodies
	Backups int       // that name one of them
	Counted time.Time // by the clock of this host: backups that began later are not known
	// Unread are the other backups that could not be read. At most MostBlocked of them are kept.
	Unread []BlockedError
	// Unreadable is the number of all of them: Bytes may be too small.
	Unreadable int
}

// ErrNotCounted reports that no pass on this host has counted the packs of a partition.
var ErrNotCounted = errors.New("unknown, because compact -A has never run here: run it on this host, or ask on the host where it runs every night")

// MeasureShare finds which bodies of a backup other backups name. The cache of the last pass on this
// host shows which of them use the same packs, and only these are read, so it costs requests in
// proportion to them. Copies of the backup that were set aside are not other backups.
//
// It takes 32 bytes of memory for each place of a body, beside what Measure takes.
func MeasureShare(ctx context.Context, f *repository.Found, cache string) (Share, error) {
	if f.Aside != "" {
		return Share{}, fmt.Errorf("%s: %w", f.Aside, repository.ErrAside)
	}
	repo, err := repository.ReadInfo(ctx, f.Partition.Store)
	if err != nil {
		return Share{}, err
	}
	s := &sharing{f: f, name: func(what string) string { return cacheName(cache, repo.ID, f.Partition.Location, what) }}
	made, err := os.Stat(s.name("uses"))
	if errors.Is(err, fs.ErrNotExist) || cache == "" {
		return Share{}, ErrNotCounted
	}
	if err != nil {
		return Share{}, err
	}
	s.out.Counted = made.ModTime()
	if err := s.bodies(ctx); err != nil {
		return Share{}, err
	}
	if err := s.others(ctx); err != nil {
		return Share{}, err
	}
	s.out.Bytes = s.mine.sharedBytes()
	return s.out, nil
}

// sharing is one run of MeasureShare.
type sharing struct {
	f    *repository.Found
	name func(string) string // of a cache

	links packLinks

	mu   sync.Mutex
	mine sharedBodies
	out  Share
}

// bodies reads the bodies of the backup.
func (s *sharing) bodies(ctx context.Context) error {
	err := s.f.Listed().EachPackedBody(ctx, func(b repository.PackedBody) error {
		p, packed := packOf(b.Pack)
		s.mine.add(b.Chunk, p, packed, b.Bytes)
		return nil
	})
	if err != nil {
		return err
	}
	s.mine.settle()
	s.links = packLinks{}
	for _, b := range s.mine {
		s.links.begin(b.pack)
	}
	if err := s.follow(); err != nil {
		return err
	}
	s.links.flatten()
	for i := range s.mine {
		s.mine[i].pack = s.links[s.mine[i].pack]
	}
	return nil
}

// follow links packs by the notes about them, as the last pass has read them: another backup may name
// a pack by an older name.
func (s *sharing) follow() error {
	for before := -1; len(s.links) != before; {
		before = len(s.links)
		err := eachCached(s.name("notes"), func(key string, packs *usageSet) error {
			about, ok := noteOf(key)
			if !ok {
				return nil
			}
			for to, err := range ofAll(packs) {
				if err != nil {
					return err
				}
				s.links.link(about, to.Pack)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// others reads the other backups that use the same packs.
func (s *sharing) others(ctx context.Context) error {
	own, aside := repository.BackupPrefix(s.f.Path), repository.AsidePrefix+s.f.Path+"/"
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(countedAhead)
	err := eachCached(s.name("uses"), func(prefix string, packs *usageSet) error {
		if prefix == own || strings.HasPrefix(prefix, aside) || gctx.Err() != nil {
			return gctx.Err()
		}
		wanted := false
		for p, err := range ofAll(packs) {
			if err != nil {
				return err
			}
			wanted = wanted || s.links.has(p.Pack)
		}
		if wanted {
			g.Go(func() error { return s.other(gctx, prefix) })
		}
		return nil
	})
	return errors.Join(g.Wait(), err)
}

// other marks the bodies that another backup names.
func (s *sharing) other(ctx context.Context, prefix string) (err error) {
	byUses := true
	for range countTries {
		var found bool
		if found, err = s.read(ctx, prefix, byUses); err == nil {
			if found {
				s.mu.Lock()
				s.out.Backups++
				s.mu.Unlock()
			}
			return nil
		}
		switch {
		case errors.Is(err, errUses):
			byUses = false
		case !errors.Is(err, objstore.ErrNotExist): // an object was replaced since the list
			return s.unread(prefix, err)
		}
	}
	return s.unread(prefix, err)
}

// unread notes a backup that cannot be read, or returns the error if others cannot be read either.
func (s *sharing) unread(prefix string, err error) error {
	if failed(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.Unreadable++; len(s.out.Unread) < MostBlocked {
		s.out.Unread = append(s.out.Unread, BlockedError{strings.TrimSuffix(prefix, "/"), err})
	}
	return nil
}

// read reads the objects of a backup that name one of the packs. The uses show which ones.
func (s *sharing) read(ctx context.Context, prefix string, byUses bool) (found bool, err error) {
	store := s.f.Partition.Store
	var old *usesReader
	if byUses {
		old, err = openUses(ctx, store, prefix)
	}
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		old = nil
	case err != nil:
		return false, err
	case old != nil:
		defer func() { err = errors.Join(err, old.close()) }()
	}
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return found, err
		}
		o := parseObject(prefix, info)
		skip, err := s.irrelevant(o, old)
		if err == nil && !skip {
			err = eachPlaceIn(ctx, store, o, func(p history.Place) error {
				found = s.mark(p) || found
				return nil
			})
		}
		if err != nil {
			return found, err
		}
	}
	if old != nil {
		return found, old.drain()
	}
	return found, nil
}

// irrelevant reports whether an object names none of the packs.
func (s *sharing) irrelevant(o object, old *usesReader) (bool, error) {
	if old == nil || o.kind != kindLog && o.kind != kindBlocks {
		return false, nil
	}
	u, err := old.find(o)
	if err != nil || u == nil {
		return false, err
	}
	return !slices.ContainsFunc(u.Packs, s.links.has), nil
}

// mark notes that another backup names a place. It reports whether that is a body of this one.
func (s *sharing) mark(p history.Place) bool {
	id, ok := packOf(p.Object)
	if !ok || !s.links.has(id) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine.mark(p.Chunk, s.links[idOf(id)])
}
