package collection

import (
	"context"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// orphanAge is how old an unused pack must be: a client may stage messages in it that no
	// commit names yet.
	orphanAge = 7 * 24 * time.Hour
	// condemnedAge is how long a pack must have been condemned before the count that finds it
	// unused again. A writer that has read the list before commits within little more than
	// an hour, or reads it again before its client gets an OK (partitions, late.go).
	condemnedAge = 24 * time.Hour
	// listAge is how long condemned.json must have been unchanged before that count: a put
	// of the list may have arrived much later than the time in it.
	listAge = 2 * time.Hour
)

// sorted is what a pass does with the packs of the partition.
type sorted struct {
	condemn []Pack
	remove  []objstore.Info
	rewrite []objstore.Info      // used, although it was condemned
	absent  map[string]time.Time // keys on the list that do not exist, with their Since
	// erased are the keys in rewrite of packs with erased bodies.
	erased map[string]bool
}

// sortPacks lists the packs, beside those that are used, and decides about each.
func (p *pass) sortPacks(ctx context.Context, used iter.Seq2[Pack, error], list *history.Condemned, listed objstore.Info) (*sorted, error) {
	out := &sorted{absent: map[string]time.Time{}, erased: map[string]bool{}}
	since := map[string]time.Time{}
	for _, c := range list.Packs {
		since[c.Key], out.absent[c.Key] = c.Since, c.Since
	}
	removable := listed.Modified.Add(listAge).Before(p.began)
	next, stop := iter.Pull2(used)
	defer stop()
	u, err, more := next()
	erase := beginErasing(p.opt.Erase)
	defer erase.stop()
	for info, lerr := range p.store.List(ctx, packPrefix, "") {
		if lerr != nil {
			return nil, lerr
		}
		id, ok := packOf(info.Key)
		if !ok {
			continue
		}
		for err == nil && more && comparePacks(u, id) < 0 {
			u, err, more = next()
		}
		if err != nil {
			return nil, err
		}
		delete(out.absent, info.Key)
		p.out.All.add(info.Size)
		erased, xerr := erase.has(id)
		if xerr != nil {
			return nil, xerr
		}
		at, condemned := since[info.Key]
		due := condemned && removable && at.Add(age(erased)).Before(p.began) && !at.IsZero()
		switch {
		case more && u == id:
			p.out.Used.add(info.Size)
			if due {
				out.rewrite = append(out.rewrite, info)
				if erased {
					out.erased[info.Key] = true
				}
			}
		case condemned:
			p.out.Condemned.add(info.Size)
			if due {
				out.remove = append(out.remove, info)
			}
		case info.Modified.IsZero() || !info.Modified.Add(orphanAge).Before(p.began) || len(out.condemn)+len(list.Packs) >= mostCondemned:
			p.out.Young.add(info.Size)
		default:
			out.condemn = append(out.condemn, id)
			p.out.Condemning.add(info.Size)
		}
	}
	return out, err
}
