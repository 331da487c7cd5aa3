package ctlbackups

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/prices"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// dryTotals are the sums of a dry run.
type dryTotals struct {
	commits, segments int
	bytes             int64 // of the merged commits
	requests          maintenance.Requests
	freed             int64 // bytes that are removed
	written           int   // checkpoints in their place
	cost              float64
	saved             float64 // a month
	currency          string  // "" = none yet, mixed = several
	unpriced          bool    // no price is known for some partition
}

// planned finds the work that a backup needs. due means that retention may have something to do. A
// backup on hold needs none. If the tripwire would place a hold, commits are merged before.
func (k *compaction) planned(f *repository.Found, p maintenance.Plan, due bool) error {
	holds, err := k.c.held(f, f.ListedHolds())
	if err == nil && len(holds) > 0 {
		err = fmt.Errorf("%w: %s", repository.ErrOnHold, repository.HoldsText(holds))
	}
	if err != nil {
		return k.result(f, nil, err)
	}
	w := &work{commits: p.Commits, segments: p.Days, removed: p.Commits, bytes: p.Bytes, requests: p.Requests()}
	if due {
		w.retained, err = k.retention.preview(f)
		w.requests.Add(w.retained.Requests())
	}
	switch {
	case err == nil && p.Commits == 0 && !w.retained.Changed():
		err = errSkipped
	case err == nil, errors.Is(err, repository.ErrOnHold):
		if err := k.dry.take(k.c, f.Partition, w); err != nil {
			return err
		}
	}
	return k.result(f, w, err)
}

// take adds the work on a backup.
func (d *dryTotals) take(c *command, p repository.Config, w *work) error {
	d.commits += w.commits
	d.segments += w.segments
	d.bytes += w.bytes
	d.written += w.retained.Written
	return d.add(c, p, w.requests, w.retained.Bytes())
}

// add adds requests to a partition, and bytes that are removed there.
func (d *dryTotals) add(c *command, p repository.Config, r maintenance.Requests, freed int64) error {
	d.requests.Add(r)
	d.freed += freed
	charged, known, err := prices.Of(c.bucket.Conf.String("backup_prices"), p.Location)
	switch {
	case err != nil:
		return err
	case !known, d.currency != "" && d.currency != charged.Currency:
		d.unpriced = true
		return nil
	}
	d.currency = charged.Currency
	d.cost += charged.Puts(int64(r.Put)) + charged.Gets(int64(r.Get))
	d.saved += charged.Month(freed)
	return nil
}

// removing estimates the requests that remove and rewrite packs. The removal of a rewritten pack reads the
// frames of its entries in the new packs.
func removing(r *collection.Result) maintenance.Requests {
	gone, moved, replaced := r.Removed.Packs, r.Rewritten.Packs, r.Replaced.Packs
	return maintenance.Requests{Get: 2*gone + 6*moved + 6*replaced + int(r.Replaced.Bytes/frameBytes), Put: gone + 2*moved + replaced, Delete: gone + replaced}
}

// frameBytes is how many bytes of a mostly dead pack have a frame of needed entries, at most.
const frameBytes = 256 << 10

// price prints what the work of a dry run costs and saves.
func (k *compaction) price() error {
	d := &k.dry
	switch {
	case !k.c.dryRun:
		return nil
	case k.c.structured():
		return k.c.object(d.estimate())
	case d.requests.Total() == 0:
		return nil
	}
	cost, saved := "", ""
	if d.currency != "" && !d.unpriced {
		cost = fmt.Sprintf(", %s %s", prices.Money(d.cost), d.currency)
		saved = fmt.Sprintf(", %s %s a month", prices.Money(d.saved), d.currency)
	}
	_, err := cli.Fprintf(k.c.out, "requests: about %d: %d get, %d put or list, %d delete%s\n", d.requests.Total(), d.requests.Get, d.requests.Put, d.requests.Delete, cost)
	if err != nil || d.freed == 0 {
		return err
	}
	written := ""
	if d.written > 0 {
		written = fmt.Sprintf("; %s written", objects(int64(d.written), "checkpoint"))
	}
	_, err = cli.Fprintf(k.c.out, "storage: about %s removed%s%s\n", binary(d.freed), saved, written)
	return err
}

// estimate is what the work of a dry run costs and saves, as JSON.
type estimate struct {
	Command  string               `json:"command"`
	Requests maintenance.Requests `json:"requests"`
	Freed    int64                `json:"freed_bytes"`
	Written  int                  `json:"checkpoints_written"`
	Currency string               `json:"currency,omitempty"` // absent: prices are unknown
	Price    *float64             `json:"price,omitempty"`
	Saved    *float64             `json:"saved_per_month,omitempty"`
}

func (d *dryTotals) estimate() estimate {
	e := estimate{Command: "estimate", Requests: d.requests, Freed: d.freed, Written: d.written}
	if d.currency != "" && !d.unpriced {
		e.Currency, e.Price, e.Saved = d.currency, &d.cost, &d.saved
	}
	return e
}
