package maintenance

import (
	"context"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Seen is a commit or segment that was read to its end: the version in the store's answer, and how
// many places in it lead to each pack, by key. Collection need not read that version again.
type Seen struct {
	Info   objstore.Info
	Packs  map[string]uint32 // nil: it was merged, and removed
	Random string            // in the header of a single commit; "" = unknown
}

func (s *Seen) add(p history.Place) {
	if strings.HasPrefix(p.Object, "packs/") {
		s.Packs[p.Object]++
	}
}

// watched notes the version of an object that is read.
type watched struct {
	objstore.Store
	key string
	got []objstore.Info
}

func watch(s objstore.Store, key string) (*watched, *Seen) {
	return &watched{Store: s, key: key}, &Seen{Packs: map[string]uint32{}}
}

// Get implements objstore.Store.
func (w *watched) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := w.Store.Get(ctx, key, off, n)
	if err == nil && key == w.key {
		w.got = append(w.got, o.Info)
	}
	return o, err
}

// add adds the object, unless its version is unknown: several answers could be about several
// versions.
func (w *watched) add(job *Merged, s *Seen) bool {
	if len(w.got) != 1 || w.got[0].ETag == "" {
		return false
	}
	s.Info = w.got[0]
	s.Info.Key = w.key
	job.Seen = append(job.Seen, *s)
	return true
}

// mostSeenMerged limits the memory for merged commits. Collection asks the log about one of them, and in most nights there are few.
const mostSeenMerged = 1000

// merged notes a single commit that was merged and removed.
func (j *Merged) merged(info objstore.Info, random string) {
	if len(j.Seen) < mostSeenMerged {
		j.Seen = append(j.Seen, Seen{Info: info, Random: random})
	}
}

// mostSeenNewest is the size up to which the newest commit, which was just read, is still in memory
// (repository.Found.Listed).
const mostSeenNewest = 64 << 10

// seeNewest notes what the newest commit names. If its places are unreadable, nothing is noted:
// collection reads them, and reports it. Nothing of the newest commit is merged.
func (m *Merger) seeNewest(ctx context.Context, job *Merged, f *repository.Found, newest uint64) error {
	key := history.LogKey(f.Path, newest)
	if info, ok := f.ListedObject(key); !ok || info.Size > mostSeenNewest {
		return nil
	}
	w, s := watch(f.Partition.Store, key)
	for p, err := range history.HeadedPlaces(ctx, w, key, func(h history.Header) { s.Random = h.Random }) {
		if history.IsUnreadable(err) {
			return nil
		}
		if err != nil {
			return err
		}
		s.add(p)
	}
	w.add(job, s)
	return nil
}
