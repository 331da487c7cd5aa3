package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A damaged pack is replaced for all backups. Its readable entries are copied into a new
// pack, a note in moved/ refers to that pack, and then the damaged object is removed. No
// writer can mistake it for a sound pack, and no readable entry is lost.
//
// Notes lead only to packs that the repair has just written. Any other pack may be condemned, and
// collection may already have counted who needs it: it would not see the note.

// mendPack repairs a damaged pack.
func (r *repairer) mendPack(ctx context.Context, key string) error {
	if back, err := r.fromHold(ctx, key); back || err != nil {
		return err
	}
	body, etag, drop, err := repository.ReadWhole(ctx, r.store, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer drop()
	is, err := packOf(body)
	if err != nil || is == key {
		return err // the bytes are correct: the damage is elsewhere
	}
	if swapped, err := r.misplaced(ctx, key, is, body); err != nil || swapped {
		return err
	}
	if err := r.rewrite(ctx, key, body); err != nil {
		return err
	}
	// A daemon may have written the pack again since it was read.
	now, err := r.store.Stat(ctx, key)
	if err != nil || now.ETag != etag {
		return ignoreAbsent(err)
	}
	return r.store.Delete(ctx, key)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	return err
}

// packOf returns the key of a pack with these bytes.
func packOf(body objstore.Body) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return "", err
	}
	return history.PackKey([32]byte(h.Sum(nil))), nil
}

// misplaced handles the bytes of another pack, is, that are stored under the name key.
// The pack is gets them, unless it has them. swapped: the pack key has its own bytes, too.
func (r *repairer) misplaced(ctx context.Context, key, is string, body objstore.Body) (swapped bool, err error) {
	other, etag, drop, err := repository.ReadWhole(ctx, r.store, is)
	if errors.Is(err, objstore.ErrNotExist) {
		if history.CheckObject(ctx, r.store, key) != nil {
			return false, nil // this pack, with damaged bytes
		}
		return false, r.putBack(ctx, is, objstore.PutOptions{IfAbsent: true}, body)
	}
	if err != nil {
		return false, err
	}
	defer drop()
	there, err := packOf(other)
	if err != nil || there == is {
		return false, err
	}
	if there != key {
		return false, r.putBack(ctx, is, objstore.PutOptions{IfMatch: etag}, body)
	}
	// Each has the bytes of the other. The exchange uses a third key, so that both packs
	// exist at any time.
	if _, err := r.store.Put(ctx, holdKey(key), other, objstore.PutOptions{}); err != nil {
		return false, err
	}
	if err := r.putBack(ctx, is, objstore.PutOptions{IfMatch: etag}, body); err != nil {
		return false, err
	}
	return r.fromHold(ctx, key)
}

// holdKey is the third key, for a pack whose own key is occupied.
func holdKey(key string) string { return repository.AsidePrefix + key }

// fromHold puts a pack that is stored under its holdKey back under its own key.
func (r *repairer) fromHold(ctx context.Context, key string) (bool, error) {
	body, _, drop, err := repository.ReadWhole(ctx, r.store, holdKey(key))
	if err != nil {
		return false, ignoreAbsent(err)
	}
	defer drop()
	if is, err := packOf(body); err != nil || is != key {
		return false, err
	}
	if err := r.putBack(ctx, key, objstore.PutOptions{}, body); err != nil {
		return false, err
	}
	return true, r.store.Delete(ctx, holdKey(key))
}

func (r *repairer) putBack(ctx context.Context, key string, o objstore.PutOptions, body objstore.Body) error {
	_, err := r.store.Put(ctx, key, body, o)
	if err == nil {
		r.report(Repaired, key, "restored: the bytes were stored under another name")
	}
	return err
}

// note notes that entries of a pack are in another pack now.
func (r *repairer) note(ctx context.Context, key string, entries []string, now string) error {
	at, err := r.lock.Now(ctx)
	if err != nil {
		return err
	}
	if err := repository.NoteMoved(ctx, r.store, false, at, key, entries, now); err != nil {
		return err
	}
	return r.renote(ctx, key, at, entries, now)
}

// rewrite copies the readable entries of a pack into a new one. If its bytes are those of another
// pack, the two can have the same message, which was readable under both names until now.
func (r *repairer) rewrite(ctx context.Context, key string, body objstore.Body) error {
	w := pack.NewWriter(nil, r.o.Pack)
	var kept []string
	lost, err := history.Salvage(body, body.Size(), func(name string, b []byte) error {
		kept = append(kept, name)
		return w.Add(name, b)
	})
	if err != nil {
		return err
	}
	if len(kept) == 0 {
		r.report(Repaired, key, "removed: no entry is readable")
		return nil
	}
	now, err := r.putNoted(ctx, w, key, kept)
	if err != nil {
		return err
	}
	text := ""
	if len(lost) > 0 {
		text = fmt.Sprintf("; %d unreadable", len(lost))
	}
	r.report(Repaired, key, "%s copied to %s%s", english.Plural(len(kept), "entry", "entries"), now, text)
	return nil
}

// putNoted puts a pack with the entries of another one, and notes it. If an erasure is open, it holds the lease of
// collection: else the erasure could look for packs in between, and find neither the new pack nor a note that leads there.
// An erasure that begins meanwhile has its record before it looks.
func (r *repairer) putNoted(ctx context.Context, w *pack.Writer, key string, entries []string) (now string, err error) {
	open, err := r.erasing(ctx)
	if err != nil {
		return "", err
	}
	earlier, err := r.earlierPacks(ctx, key)
	if err != nil {
		return "", err
	}
	if open {
		err = r.leased(ctx, func(lease *repository.Upkeep) error {
			if err := r.replacing(ctx, lease, key, earlier); err != nil {
				return err
			}
			if now, err = r.putPack(ctx, w, key, lease); err == nil {
				err = lease.Check()
			}
			if err != nil {
				return err
			}
			return r.note(ctx, key, entries, now)
		})
		return now, err
	}
	if now, err = r.putPack(ctx, w, "", nil); err != nil {
		return "", err
	}
	if err := r.note(ctx, key, entries, now); err != nil {
		return "", err
	}
	if open, err = r.erasing(ctx); err == nil && open {
		err = r.leased(ctx, func(lease *repository.Upkeep) error { return r.replacing(ctx, lease, key, append(earlier, now)) })
	}
	return now, err
}

// earlierPacks returns the packs that the note about a pack leads to: an interrupted repair has put them, and nothing
// shows them once the note is changed.
func (r *repairer) earlierPacks(ctx context.Context, key string) ([]string, error) {
	m, _, err := history.ReadMoved(ctx, r.store, key)
	if errors.Is(err, objstore.ErrNotExist) || history.IsDamage(err) || r.o.Replacing == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	packs := slices.Sorted(maps.Values(m.Entries))
	return slices.DeleteFunc(slices.Compact(packs), func(p string) bool { return p == key }), nil
}

// replacing puts packs with entries of another one on the lists of erasures.
func (r *repairer) replacing(ctx context.Context, lease *repository.Upkeep, old string, packs []string) error {
	for _, now := range packs {
		if err := r.o.Replacing(ctx, lease, old, now); err != nil {
			return err
		}
	}
	return nil
}

// leased calls fn with the lease of collection, which every erasure holds while it looks for packs.
func (r *repairer) leased(ctx context.Context, fn func(*repository.Upkeep) error) (err error) {
	lease, err := repository.BeginCollection(ctx, r.f.Partition, r.o.Lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	return fn(lease)
}

// erasing reports whether new packs have to be put on the lists of erasures.
func (r *repairer) erasing(ctx context.Context) (bool, error) {
	if r.o.Replacing == nil {
		return false, nil
	}
	return repository.Erasing(ctx, r.f.Partition)
}

// renote changes the notes of other packs that lead to a rewritten pack. Readers follow one note only, and
// the places of a backup that was moved here name packs of its former partition. An entry that
// is not in the new pack was damaged, and is dropped: the new pack could never be rewritten as long as
// a note leads to an entry that it lacks.
func (r *repairer) renote(ctx context.Context, key string, at time.Time, entries []string, now string) error {
	kept := map[string]bool{}
	for _, e := range entries {
		kept[e] = true
	}
	for info, err := range r.store.List(ctx, "moved/", "") {
		if err != nil {
			return err
		}
		name, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, "moved/"), ".json")
		pack := "packs/" + name + ".tar.zst"
		if _, is := history.MovedKey(pack); !ok || !is {
			continue
		}
		m, _, err := history.ReadMoved(ctx, r.store, pack)
		if history.IsDamage(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !slices.Contains(slices.Collect(maps.Values(m.Entries)), key) {
			continue
		}
		err = repository.ChangeMoved(ctx, r.store, false, at, pack, func(m *history.Moved) bool {
			for e, in := range m.Entries {
				switch {
				case in != key:
				case kept[e]:
					m.Entries[e] = now
				default:
					m.Drop(e)
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// putPack finishes and writes a pack. of is the damaged pack that its entries come from, erased ones too; "" = a backup
// needs all of them.
func (r *repairer) putPack(ctx context.Context, w *pack.Writer, of string, lease *repository.Upkeep) (key string, err error) {
	obj, err := w.Finish()
	if err != nil {
		return "", err
	}
	key = history.PackKey(sha256.Sum256(obj))
	if of != "" && r.o.Replacing != nil {
		if err := r.o.Replacing(ctx, lease, of, key); err != nil {
			return "", err
		}
	}
	if lease != nil {
		if err := lease.Check(); err != nil {
			return "", err
		}
	}
	_, err = r.store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{})
	return key, err
}
