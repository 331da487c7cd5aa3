package ctlbackups

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/prices"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// costPeriod is the time for which cost counts requests.
const costPeriod = 30 * 24 * time.Hour

// cost prints what the objects of each partition add up to, and their price; with --backups also
// those of each backup.
func cost(c *command) error {
	t := &costs{c: c}
	if c.structured() {
		return t.all()
	}
	titles := []string{"packs", "log", "checkpoints", "set aside", "other", "total", "reclaimable", "objects", "puts, 30 days", "price, month", "partition"}
	return c.inTable(titles, t.all)
}

func (t *costs) all() error {
	c := t.c
	failed := false
	for _, p := range c.bucket.Partitions {
		if err := t.partition(c.ctx, p); err != nil {
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			failed = true
			cli.Fprintf(c.err, "ctl_backups: partition %s: %v\n", p.Name, err)
		}
	}
	if err := t.finish(); err != nil {
		return err
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// costs prints a table, or JSON.
type costs struct {
	c   *command
	sum repository.Account
	// unused is the reclaimable part of sum, in partitions where that is known.
	unused int64
	price  float64
	money  string // its currency; "" = none, mixed = several
	parts  int
	// counted is when the last collection of each partition counted its packs.
	counted []string
}

const mixed = "mixed"

// partition adds up a partition. Its backups come before its own line.
func (t *costs) partition(ctx context.Context, p repository.Config) error {
	charged, known, err := prices.Of(t.c.bucket.Conf.String("backup_prices"), p.Location)
	if err != nil {
		return err
	}
	each := func(string, repository.Account) error { return nil }
	if t.c.backups {
		each = func(path string, own repository.Account) error {
			return t.print(costOf{Partition: p.Name, Backup: path, Account: own}.with(charged, known))
		}
	}
	all, err := repository.AddUp(ctx, p.Store, t.c.now.Add(-costPeriod), each)
	if err != nil {
		return err
	}
	line := costOf{Partition: p.Name, Location: p.Location, Account: all}.with(charged, known)
	last, err := collection.Last(ctx, p.Store)
	if err != nil {
		return err
	}
	if last != nil {
		unused := last.Reclaimable()
		line.Reclaimable, line.Collection = &unused, last
	}
	t.add(line)
	at := "nobody has counted it: run compact -A"
	if last != nil {
		at = "as counted at " + timespec.Text(last.Time)
	}
	t.counted = append(t.counted, p.Name+": "+at)
	return t.print(line)
}

// add adds a partition to the totals.
func (t *costs) add(l costOf) {
	t.parts++
	t.sum.Add(l.Account)
	if l.Reclaimable != nil {
		t.unused += l.Reclaimable.Bytes
	}
	if l.Price == nil {
		return
	}
	if t.money != "" && t.money != l.Price.Currency {
		t.money = mixed
		return
	}
	t.money = l.Price.Currency
	t.price += l.Price.Storage + l.Price.Puts
}

// finish prints the totals of several partitions.
func (t *costs) finish() error {
	if t.c.structured() {
		return nil
	}
	if t.parts > 1 {
		if err := t.totals(); err != nil {
			return err
		}
	}
	for i, text := range t.counted {
		lead := ""
		if i == 0 {
			lead = "\n"
		}
		if _, err := cli.Fprintf(t.c.out, lead+"reclaimable in %s\n", text); err != nil {
			return err
		}
	}
	return nil
}

func (t *costs) totals() error {
	price := "-"
	if t.money != "" && t.money != mixed {
		price = prices.Money(t.price) + " " + t.money
	}
	return t.amounts(&t.sum, t.c.size(t.unused), price, "all partitions")
}

// costOf is a line of the result.
type costOf struct {
	Partition   string             `json:"partition"`
	Location    string             `json:"location,omitempty"`
	Backup      string             `json:"fname,omitempty"` // below backups/; "" for the line of a partition
	Account     repository.Account `json:"-"`
	Packs       repository.Amount  `json:"packs"`
	Log         repository.Amount  `json:"log"`
	Checkpoints repository.Amount  `json:"checkpoints"`
	SetAside    repository.Amount  `json:"set_aside"`
	Other       repository.Amount  `json:"other"`
	Total       repository.Amount  `json:"total"`
	// Reclaimable is the part of Packs that the last collection found unused; absent: unknown.
	Reclaimable *collection.Amount `json:"reclaimable,omitempty"`
	Collection  *collection.Totals `json:"collection,omitempty"`      // the totals of that collection
	Price       *price             `json:"price_per_month,omitempty"` // absent: unknown
}

type price struct {
	Currency string  `json:"currency"`
	Storage  float64 `json:"storage"`
	Puts     float64 `json:"puts"`
}

// with fills in the figures.
func (l costOf) with(p prices.Prices, known bool) costOf {
	a := &l.Account
	l.Packs, l.Log, l.Checkpoints, l.SetAside, l.Other, l.Total = a.Packs, a.Log, a.Checkpoints, a.SetAside, a.Other, a.Total()
	if known {
		l.Price = &price{Currency: p.Currency, Storage: p.Month(l.Total.Bytes), Puts: p.Puts(l.Total.Written)}
	}
	return l
}

func (t *costs) print(l costOf) error {
	if t.c.structured() {
		return t.c.object(l)
	}
	of := l.Partition
	if l.Backup != "" {
		of += ":" + l.Backup
	}
	charged := "-"
	if l.Price != nil {
		charged = prices.Money(l.Price.Storage+l.Price.Puts) + " " + l.Price.Currency
	}
	unused := "-"
	if l.Reclaimable != nil {
		unused = t.c.size(l.Reclaimable.Bytes)
	}
	return t.amounts(&l.Account, unused, charged, of)
}

func (t *costs) amounts(a *repository.Account, unused, charged, of string) error {
	sum := a.Total()
	return t.c.cells(t.c.size(a.Packs.Bytes), t.c.size(a.Log.Bytes), t.c.size(a.Checkpoints.Bytes), t.c.size(a.SetAside.Bytes),
		t.c.size(a.Other.Bytes), t.c.size(sum.Bytes), unused, fmt.Sprint(sum.Objects), fmt.Sprint(sum.Written), charged, of)
}
