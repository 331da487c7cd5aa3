package ctlbackups

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// printStatus prints the report for people.
func (c *command) printStatus(r *statusReport) error {
	p := &statusPrinter{c: c}
	p.line("%s: %s at %s", strings.ToUpper(r.Status.String()), p.counts(r), timespec.Text(r.Time))
	for _, x := range r.Problems {
		p.line("\n%s  %s: %s\n    do: %s", x.Level, x.About, x.Text, x.Action)
	}
	p.daemon(&r.Daemon)
	p.logins(&r.Daemon)
	p.partitions(r)
	p.costs(r)
	p.servers(r)
	p.behind(r)
	p.runs(r)
	p.holds(r)
	return p.err
}

// statusPrinter keeps the first error.
type statusPrinter struct {
	c   *command
	err error
}

func (p *statusPrinter) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = cli.Fprintf(p.c.out, format+"\n", args...)
	}
}

func (p *statusPrinter) counts(r *statusReport) string {
	var n [levelCritical + 1]int64
	for _, x := range r.Problems {
		n[x.Level]++
	}
	var out []string
	if n[levelCritical] > 0 {
		out = append(out, fmt.Sprintf("%d critical", n[levelCritical]))
	}
	if n[levelWarning] > 0 {
		out = append(out, objects(n[levelWarning], "warning"))
	}
	if len(out) == 0 {
		return "no problem"
	}
	return strings.Join(out, ", ")
}

// table prints rows below titles, after an empty line. It prints nothing without rows.
func (p *statusPrinter) table(titles []string, rows [][]string) {
	if p.err != nil || len(rows) == 0 {
		return
	}
	p.line("")
	w := tabwriter.NewWriter(p.c.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{titles}, rows...) {
		if p.err == nil {
			_, p.err = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	}
	if err := w.Flush(); p.err == nil {
		p.err = err
	}
}

func (p *statusPrinter) daemon(d *statusDaemon) {
	var row []string
	switch {
	case d.Daemon == nil:
		row = []string{d.State, "-", "-", "-", "-", "-"}
	case d.State == daemonIdle:
		row = []string{"idle", d.Version, "ended " + timespec.Text(d.Ended), "-", binary(d.Index.Bytes), p.room(d)}
	default:
		row = []string{d.State, d.Version, timespec.Text(d.Since), fmt.Sprint(len(d.Connections)), binary(d.Index.Bytes), p.room(d)}
	}
	p.table([]string{"daemon", "version", "since", "connections", "index", "free on its disk (reserve)"}, [][]string{row})
}

func (p *statusPrinter) room(d *statusDaemon) string {
	if d.Index.Free < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%s (%s)", binary(d.Index.Free), binary(d.Index.Reserve))
}

func (p *statusPrinter) partitions(r *statusReport) {
	var rows [][]string
	for _, x := range r.Partitions {
		row := []string{x.Name, x.State, "-", "-", "-", "-", "-", "-"}
		if x.Backups != nil {
			row[2] = fmt.Sprint(*x.Backups)
			if x.Counted.IsZero() {
				row[2] += " or more"
			}
		}
		if x.State == partitionOK {
			row[3], row[4] = timeOr(x.Written, "unknown"), clockText(x.Offset)
			if !x.Collected.IsZero() {
				row[6], row[7] = binary(x.Condemned), binary(x.Reclaimable)
			}
		}
		if x.Space != nil {
			row[5] = fmt.Sprintf("%s of %s", binary(x.Space.Free), binary(x.Space.Total))
		}
		rows = append(rows, row)
	}
	p.table([]string{"partition", "state", "backups", "last write", "clock", "free", "condemned", "reclaimable"}, rows)
}

// clockText formats how far the store's clock is ahead of this host's. Store times have whole seconds.
func clockText(offset float64) string {
	d := time.Duration(offset * float64(time.Second)).Round(time.Second)
	switch {
	case d.Abs() <= time.Second:
		return "same"
	case d > 0:
		return "+" + d.String()
	}
	return d.String()
}

func timeOr(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return timespec.Text(t)
}

func (p *statusPrinter) servers(r *statusReport) {
	var rows [][]string
	for _, s := range r.Servers {
		row := []string{s.Client, timespec.Text(s.Last), s.Host, "-", "-", "none"}
		if s.Backups != nil {
			row[3] = fmt.Sprint(*s.Backups)
		}
		if s.Refusals != nil {
			row[4] = fmt.Sprint(*s.Refusals)
		}
		if s.Refused != nil {
			row[5] = fmt.Sprintf("%s %s", timespec.Text(s.Refused.At), s.Refused.Kind)
			if s.Refused.Backup != "" {
				row[5] += " " + s.Refused.Backup
			}
		}
		rows = append(rows, row)
	}
	p.table([]string{"mail server", "last contact", "with", "backups", "refusals", "last refusal"}, rows)
}

func (p *statusPrinter) behind(r *statusReport) {
	var rows [][]string
	for i := range r.Behind {
		b := &r.Behind[i]
		count, detail := "-", b.Kind
		if b.Count > 0 {
			count = fmt.Sprint(b.Count)
		}
		if b.Error != "" {
			detail += ": " + b.Error
		}
		rows = append(rows, []string{behindName(b), b.Why, count, timeOr(b.Since, "-"), detail})
	}
	p.table([]string{"behind", "why", "count", "since", "detail"}, rows)
	listed := map[string]int{}
	for i := range r.Behind {
		listed[r.Behind[i].Why]++
	}
	for _, why := range slices.Sorted(maps.Keys(r.Lacking)) {
		if n := r.Lacking[why]; n > listed[why] {
			p.line("and more: %s in total %s", objects(int64(n), "backup"), reasons()[why])
		}
	}
}

func (p *statusPrinter) runs(r *statusReport) {
	var rows [][]string
	for _, x := range r.Partitions {
		for _, command := range repository.RunCommands() {
			if run := x.Runs[command]; run != nil {
				host := run.Host
				if run.Server != "" {
					host += " to " + run.Server
				}
				rows = append(rows, []string{command, x.Name, timespec.Text(run.Ended), run.Result, fmt.Sprint(run.Backups), fmt.Sprint(run.Failed), host})
			} else if x.State == partitionOK && !optionalRun(command) {
				rows = append(rows, []string{command, x.Name, "never", "-", "-", "-", "-"})
			}
		}
	}
	p.table([]string{"last run", "partition", "ended", "result", "backups", "failed", "host"}, rows)
}

// optionalRun reports whether a command need not run on every server.
func optionalRun(command string) bool {
	return slices.Contains([]string{repository.RunQuick, repository.RunPart, repository.RunSeal, repository.RunVerifySeals}, command)
}

func (p *statusPrinter) holds(r *statusReport) {
	var rows [][]string
	for _, h := range r.Holds {
		rows = append(rows, []string{strings.TrimPrefix(h.Backup, repository.KindUser+"/"), h.Partition, repository.HoldsText(h.Holds)})
	}
	p.table([]string{"on hold", "partition", "why"}, rows)
}
