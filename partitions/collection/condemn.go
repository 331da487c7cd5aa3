package collection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A pack stays on the list until it is removed, even if a backup names it after all: a request
// to delete it may already be on its way, and arrive at any time. Its users keep it until its
// entries are in other packs. Nobody else refers to it any more.

// MostCondemned is how many packs condemned.json has at most: about 20 MB.
const MostCondemned = 150_000

// listTries is how often a change of condemned.json is repeated after an unclear answer, or
// after another collector has changed the list.
const listTries = 10

// changeList adds packs to condemned.json, and takes packs off it that no longer exist.
func (p *pass) changeList(ctx context.Context, add []Pack, gone map[string]bool, since time.Time) error {
	var last error
	for range listTries {
		list, info, err := history.ReadCondemned(ctx, p.store)
		if err != nil {
			return errors.Join(err, last)
		}
		if !changed(list, add, gone, since) {
			return nil
		}
		b, err := list.Append(nil)
		if err != nil {
			return err
		}
		o := objstore.PutOptions{IfAbsent: true}
		if info.ETag != "" {
			o = objstore.PutOptions{IfMatch: info.ETag}
		}
		if err := p.lease.Check(); err != nil {
			return err
		}
		if _, last = p.store.Put(ctx, history.CondemnedKey, bytes.NewReader(b), o); last == nil {
			return nil
		}
		if !mayRepeat(last) {
			return last
		}
	}
	return fmt.Errorf("put %s %d times: %w", history.CondemnedKey, listTries, last)
}

// changed changes the list, and reports whether that was necessary.
func changed(list *history.Condemned, add []Pack, gone map[string]bool, since time.Time) bool {
	before := len(list.Packs)
	there := make(map[string]bool, before)
	list.Packs = slices.DeleteFunc(list.Packs, func(c history.CondemnedPack) bool {
		there[c.Key] = true
		return gone[c.Key]
	})
	is := len(list.Packs) != before
	for _, p := range add {
		key := history.PackKey(p)
		if there[key] || len(list.Packs) >= MostCondemned {
			continue
		}
		list.Packs, is = append(list.Packs, history.CondemnedPack{Key: key, Since: since.UTC()}), true
	}
	slices.SortFunc(list.Packs, func(a, b history.CondemnedPack) int { return strings.Compare(a.Key, b.Key) })
	return is
}
