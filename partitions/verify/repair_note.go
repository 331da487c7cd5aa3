package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A damaged note in moved/ hides where the entries of a removed pack are. All packs are searched for the
// entries that any backup names in that pack. The copies are put in new packs, and the new note
// leads there. It never leads to a pack that existed before, because that may be condemned.

// mendNote replaces the note about a removed pack if it is damaged. Collection must not run meanwhile: it
// could remove the entries that were found.
func (s *bodySearch) mendNote(ctx context.Context, about string) (err error) {
	info, damaged, err := s.r.damagedNote(ctx, about)
	if err != nil || !damaged {
		return err
	}
	lease, err := repository.BeginCollection(ctx, s.r.f.Partition, s.r.o.Lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	if info, damaged, err = s.r.damagedNote(ctx, about); err != nil || !damaged {
		return err // a single answer may have been garbled
	}
	n := &noteSearch{repairer: s.r, lease: lease, bodies: s, about: about, need: map[string]history.ChunkID{}, in: map[string]string{}, w: pack.NewWriter(nil, s.r.o.Pack)}
	for _, prefix := range []string{"backups/", repository.AsidePrefix} {
		if err := n.namedBelow(ctx, prefix); err != nil {
			return err
		}
	}
	named := len(n.need)
	if err := n.searchPacks(ctx); err != nil {
		return err
	}
	now, err := lease.Now(ctx)
	if err != nil {
		return err
	}
	m := &history.Moved{Version: history.Version, Pack: about, Time: now.UTC(), Entries: n.in}
	if len(m.Entries) == 0 {
		m.Unused = new(bool) // something may have been lost
	}
	b, err := m.Append(nil)
	if err == nil {
		err = lease.Check()
	}
	if err != nil {
		return err
	}
	key, _ := history.MovedKey(about)
	if _, err := s.r.store.Put(ctx, key, bytes.NewReader(b), objstore.PutOptions{IfMatch: info.ETag}); err != nil {
		return err
	}
	s.r.report(Repaired, key, "made again: %d of %s that backups name in its pack were found in other packs", named-len(n.need), english.Plural(named, "entry", "entries"))
	return nil
}

// damagedNote reports whether there is a note about a pack, and it cannot be read.
func (r *repairer) damagedNote(ctx context.Context, about string) (objstore.Info, bool, error) {
	_, info, err := history.ReadMoved(ctx, r.store, about)
	if err == nil || errors.Is(err, objstore.ErrNotExist) {
		return info, false, nil
	}
	if !history.IsDamage(err) || ctx.Err() != nil {
		return info, false, err
	}
	return info, true, nil
}

// noteSearch searches for the entries of a removed pack.
type noteSearch struct {
	*repairer
	bodies *bodySearch // for its reads
	about  string
	lease  *repository.Upkeep         // of collection
	need   map[string]history.ChunkID // by entry: at most the entries of a pack
	in     map[string]string          // found entries, with their new packs
	w      *pack.Writer
	added  []string // entries in w
}

// namedBelow collects the entries that anything below a prefix names in the pack. What cannot be read
// names nothing: its own repair looks for the bodies again.
func (n *noteSearch) namedBelow(ctx context.Context, prefix string) error {
	for info, err := range n.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		var places iter.Seq2[history.Place, error]
		switch {
		case strings.Contains(info.Key, "/log/"):
			places = history.LogPlaces(ctx, n.store, info.Key)
		case strings.Contains(info.Key, "/records/"):
			places = history.ObjectPlaces(ctx, n.store, info.Key)
		default:
			continue
		}
		for p, err := range places {
			if history.IsDamage(err) && ctx.Err() == nil {
				break
			}
			if err != nil {
				return err
			}
			if p.Object == n.about {
				n.need[p.Entry] = p.Chunk
			}
		}
	}
	return nil
}

// searchPacks looks for the entries in all packs.
func (n *noteSearch) searchPacks(ctx context.Context) error {
	for info, err := range n.store.List(ctx, "packs/", "") {
		if err != nil {
			return err
		}
		if len(n.need) == 0 {
			break
		}
		objects := history.NewObjects(n.store, 0) // which would keep the directories
		dir, err := objects.Directory(ctx, info.Key)
		if history.IsDamage(err) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range dir.Entries {
			chunk, ok := n.need[e.Name]
			if !ok {
				continue
			}
			if err := n.copy(ctx, objects, history.Place{Chunk: chunk, Object: info.Key, Entry: e.Name}); err != nil {
				return err
			}
		}
	}
	return n.flushPack(ctx)
}

// copy copies an entry to a new pack, if it has the right bytes.
func (n *noteSearch) copy(ctx context.Context, objects *history.Objects, p history.Place) error {
	_, body, err := n.bodies.read(ctx, objects, p)
	if history.IsDamage(err) && ctx.Err() == nil {
		return nil
	}
	if err == nil {
		err = n.w.Add(p.Entry, body)
	}
	if err != nil {
		return fmt.Errorf("copy %s from %s: %w", p.Entry, p.Object, err)
	}
	delete(n.need, p.Entry)
	if n.added = append(n.added, p.Entry); int64(n.w.Len()) >= n.o.PackSize {
		return n.flushPack(ctx)
	}
	return nil
}

func (n *noteSearch) flushPack(ctx context.Context) error {
	if len(n.added) == 0 {
		return nil
	}
	key, err := n.putPack(ctx, n.w, n.about, n.lease)
	if err != nil {
		return err
	}
	for _, e := range n.added {
		n.in[e] = key
	}
	n.w, n.added = pack.NewWriter(nil, n.o.Pack), nil
	return nil
}
