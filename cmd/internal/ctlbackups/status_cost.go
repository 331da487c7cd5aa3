package ctlbackups

import (
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/prices"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/timespec"
)

// statusCost is what a partition costs, as far as status knows it without a list of all objects.
type statusCost struct {
	// Stored are the bytes of logs and checkpoints that the index knows, and of the packs that the last
	// compact -A has counted. Partial means that there are more: nobody has counted the packs, or the index
	// does not know all backups.
	Stored  int64 `json:"stored"`
	Partial bool  `json:"partial,omitempty"`
	// Requests are those of the daemon of this host since Since; those of the tools are not in it.
	Requests *control.Requests `json:"requests,omitempty"`
	Since    time.Time         `json:"since,omitzero"`
	// Price is absent if no prices are known.
	Price *statusPrice `json:"price,omitempty"`
}

type statusPrice struct {
	Currency string  `json:"currency"`
	Storage  float64 `json:"storage_per_month"`
	Requests float64 `json:"requests"` // of all in Requests
}

// addCosts adds the cost of the partitions. option is backup_prices: if it is wrong, no prices are known.
func (r *statusReport) addCosts(option string) {
	if _, err := prices.Parse(option); option != "" && err != nil {
		r.problem(levelWarning, "imapd.conf", err.Error(), "correct the line, such as backup_prices: EUR storage=0.02 put=0.005 get=0.0004")
		option = ""
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if p.State != partitionOK || p.Backups == nil {
			continue
		}
		k := &statusCost{Stored: p.own + p.packs, Partial: p.unsized > 0 || p.Counted.IsZero() || p.Collected.IsZero()}
		if d := r.Daemon.Daemon; d != nil {
			if n, there := d.Requests[p.Name]; there {
				k.Requests, k.Since = &n, d.Since
			}
		}
		if charged, known, err := prices.Of(option, p.Location); known && err == nil {
			k.Price = &statusPrice{Currency: charged.Currency, Storage: charged.Month(k.Stored)}
			if k.Requests != nil {
				k.Price.Requests = charged.Puts(k.Requests.Put) + charged.Gets(k.Requests.Get)
			}
		}
		p.Cost = k
	}
}

// costs prints what the partitions cost.
func (p *statusPrinter) costs(r *statusReport) {
	var rows [][]string
	for _, x := range r.Partitions {
		k := x.Cost
		if k == nil {
			continue
		}
		row := []string{x.Name, binary(k.Stored), "-", "-", "-", "-", "-"}
		if k.Partial {
			row[1] += " or more"
		}
		if k.Requests != nil {
			row[3], row[4], row[6] = fmt.Sprint(k.Requests.Put), fmt.Sprint(k.Requests.Get), timespec.Text(k.Since)
		}
		if k.Price != nil {
			row[2] = prices.Money(k.Price.Storage) + " " + k.Price.Currency
			if k.Requests != nil {
				row[5] = prices.Money(k.Price.Requests) + " " + k.Price.Currency
			}
		}
		rows = append(rows, row)
	}
	p.table([]string{"cost", "stored", "price, month", "puts", "gets", "price of these", "since"}, rows)
}

// logins prints failed logins, if there were some.
func (p *statusPrinter) logins(d *statusDaemon) {
	if d.Daemon == nil || d.Logins.Failed == 0 {
		return
	}
	last, from, as, why := "-", "-", "-", "-"
	if x := d.Logins.Last; x != nil {
		last, from, why = timespec.Text(x.At), x.Host, x.Result
		if x.User != "" {
			as = x.User
		}
	}
	p.table([]string{"failed logins", "last half hour", "since", "last", "from", "as", "why"},
		[][]string{{fmt.Sprint(d.Logins.Failed), fmt.Sprint(d.Logins.Recent), timespec.Text(d.Since), last, from, as, why}})
}
