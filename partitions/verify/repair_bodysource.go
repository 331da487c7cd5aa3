package verify

import (
	"context"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// bodySource is a backup to search for messages.
type bodySource struct {
	m       *history.Mem
	objects *history.Objects
	name    string
	own     bool
}

// everyBackup yields the backups of all partitions, including those set aside.
func everyBackup(ctx context.Context, parts []repository.Config) func(func(*repository.Found, error) bool) {
	return func(yield func(*repository.Found, error) bool) {
		for _, p := range parts {
			for f, err := range repository.Browse(ctx, p) {
				if !yield(f, err) {
					return
				}
			}
			for f, err := range repository.BrowseAside(ctx, p) {
				if !yield(f, err) {
					return
				}
			}
		}
	}
}

// find copies messages from this backup, or from any other one, and returns the messages
// that it has not found.
func (s *bodySearch) find(ctx context.Context, need map[cyrus.GUID]int64) (map[cyrus.GUID]int64, error) {
	own := bodySource{m: s.m, objects: s.objects, name: "another place in this backup", own: true}
	if err := s.takeFrom(ctx, own, need); err != nil {
		return nil, err
	}
	for f, err := range everyBackup(ctx, s.r.o.Others) {
		if len(need) == 0 {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue // an unreadable backup cannot help
		}
		if f.Path == s.r.f.Path && f.Aside == "" && f.Partition.Name == s.r.f.Partition.Name {
			continue
		}
		if err := s.fromOther(ctx, f, need); err != nil {
			return nil, err
		}
	}
	return need, nil
}

func (s *bodySearch) fromOther(ctx context.Context, f *repository.Found, need map[cyrus.GUID]int64) error {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err != nil {
		return ctx.Err() // an unreadable backup cannot help
	}
	defer m.Close()
	name := f.Partition.Name + ":" + f.Where()
	return s.takeFrom(ctx, bodySource{m: m, objects: history.NewObjects(f.Partition.Store, 0), name: name}, need)
}

// takeFrom copies messages in need from one backup, and removes them from need.
func (s *bodySearch) takeFrom(ctx context.Context, src bodySource, need map[cyrus.GUID]int64) error {
	for _, g := range slices.SortedFunc(maps.Keys(need), compareGUIDs) {
		msg, err := src.m.Message(g)
		if err != nil {
			return onlyStore(ctx, err)
		}
		if msg == nil || msg.Missing || msg.Size != need[g] || msg.Private && !src.own {
			continue
		}
		got, err := s.take(ctx, src, msg)
		if err != nil {
			return err
		}
		if got {
			delete(need, g)
		}
	}
	return nil
}

// onlyStore returns err unless it is damage. Damage of another backup is not this repair's
// subject.
func onlyStore(ctx context.Context, err error) error {
	if history.IsDamage(err) {
		return ctx.Err()
	}
	return err
}

// take adds a message to the new pack if all its chunks are readable.
func (s *bodySearch) take(ctx context.Context, src bodySource, msg *history.MessageState) (bool, error) {
	var at []history.Place // a readable place of each chunk
	mended := src.own
	for _, c := range msg.Chunks {
		places, err := src.m.Places(c)
		if err != nil {
			return false, onlyStore(ctx, err)
		}
		_, p, err := s.readAny(ctx, src.objects, places)
		if err != nil || p == nil {
			return false, onlyStore(ctx, err)
		}
		mended = mended && *p == places[0] // readers use the newest place, which comes first
		at = append(at, *p)
	}
	if mended {
		return true, nil // unreadable has repaired the pack
	}
	for _, p := range at {
		_, body, err := s.read(ctx, src.objects, p) // one at a time: a message can be large
		if err == nil {
			err = s.add(ctx, history.Place{Chunk: p.Chunk, Entry: p.Entry}, body)
		}
		if err != nil {
			return false, err
		}
	}
	s.found, s.from = append(s.found, msg.Message), append(s.from, src.name)
	if len(s.found) == history.MaxMessagesPerEvent || len(s.places) >= placesAtOnce {
		return true, s.flush(ctx)
	}
	return true, nil
}

// placesAtOnce is how many places may wait for a commit.
const placesAtOnce = 1 << 14
