package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// recordsAge is how old the records in the buckets become: each time is a few small requests for each
	// partition.
	recordsAge, recordsAgain = 10 * time.Minute, time.Minute
	// recordsTime limits these requests.
	recordsTime = time.Minute
)

// records are the metrics of the last runs of commands, and of the packs as the last run of compact has
// counted them. All backup hosts find them in the buckets.
type records struct {
	state *reading[[]record]

	ended, duration, backups, failed, result      *family
	packs, packBytes, used, condemned, condemnedN *family
	reclaimable, counted                          *family
}

// record is what a bucket has.
type record struct {
	partition string
	runs      []*repository.Run
	packs     *collection.Totals // nil: there was no complete pass
	err       error
}

func newRecords(c *catalogue, b *background, parts []repository.Config) *records {
	c.begin("Upkeep")
	x := &records{
		ended:    c.gauge("last_run_timestamp_seconds", "When the last run of a command over all backups of the partition ended. The command is verify (with --read all), verify-quick, compact, drill, seal or verify-seals. Each host reads these records from the bucket every ten minutes.", "partition", "command"),
		duration: c.gauge("last_run_duration_seconds", "How long it took.", "partition", "command"),
		backups:  c.gauge("last_run_backups", "Backups that it looked at.", "partition", "command"),
		failed:   c.gauge("last_run_failed_backups", "Backups for which it failed. For verify these are damaged.", "partition", "command"),
		result:   c.gauge("last_run_result", "1 for the result of the run, and 0 for the others: ok, failed (for some backups), incomplete (it was interrupted, or a drill could not use its server; such a drill does not replace a failed one).", "partition", "command", "result"),

		packs:       c.gauge("packs", "Packs in the bucket when compact last counted them.", "partition"),
		packBytes:   c.gauge("pack_bytes", "Bytes of these packs.", "partition"),
		used:        c.gauge("used_pack_bytes", "Bytes of the packs that a backup names.", "partition"),
		condemnedN:  c.gauge("condemned_packs", "Packs that nothing names, and that a later compact removes.", "partition"),
		condemned:   c.gauge("condemned_bytes", "Bytes of the condemned packs.", "partition"),
		reclaimable: c.gauge("reclaimable_bytes", "Bytes of the condemned packs, and of the packs that will be condemned if nothing changes.", "partition"),
		counted:     c.gauge("packs_counted_timestamp_seconds", "When compact last counted the packs.", "partition"),
	}
	due := func(all []record) time.Duration {
		for _, r := range all {
			if r.err != nil {
				return recordsAgain
			}
		}
		return recordsAge
	}
	var last []record
	x.state = newReading(b, "records in the buckets", due, func(ctx context.Context) ([]record, error) {
		last = readRecords(ctx, parts, last)
		for _, r := range last {
			if r.err != nil {
				b.log.Debug("the last runs of a partition are unknown or old", "partition", r.partition, "err", r.err)
			}
		}
		return last, ctx.Err()
	})
	return x
}

// readRecords reads the records of all partitions. It keeps the last ones of a partition that cannot be
// read.
func readRecords(ctx context.Context, parts []repository.Config, last []record) []record {
	out := make([]record, len(parts))
	for i, p := range parts {
		r, err := readRecord(ctx, p)
		if err != nil && i < len(last) {
			r = last[i]
		}
		r.partition, r.err = p.Name, err
		out[i] = r
	}
	return out
}

func readRecord(ctx context.Context, p repository.Config) (out record, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTime)
	defer cancel()
	for _, command := range repository.RunCommands() {
		r, err := repository.LastRun(ctx, p.Store, command)
		switch {
		case errors.Is(err, objstore.ErrNotExist):
		case repository.IsStoreError(err):
			return out, fmt.Errorf("read the last run of %s: %w", command, err)
		case err == nil: // a record of a newer program shows nothing
			out.runs = append(out.runs, r)
		}
	}
	totals, err := collection.Last(ctx, p.Store)
	if repository.IsStoreError(err) {
		return out, fmt.Errorf("read the totals: %w", err)
	}
	if err == nil {
		out.packs = totals
	}
	return out, nil
}

func (x *records) collect(ch chan<- prometheus.Metric) {
	all, _, _ := x.state.get()
	for _, r := range all {
		for _, run := range r.runs {
			x.run(ch, r.partition, run)
		}
		if t := r.packs; t != nil {
			x.packs.value(ch, float64(t.All.Packs), r.partition)
			x.packBytes.value(ch, float64(t.All.Bytes), r.partition)
			x.used.value(ch, float64(t.Used.Bytes), r.partition)
			x.condemnedN.value(ch, float64(t.Condemned.Packs), r.partition)
			x.condemned.value(ch, float64(t.Condemned.Bytes), r.partition)
			x.reclaimable.value(ch, float64(t.Reclaimable().Bytes), r.partition)
			x.counted.value(ch, float64(t.Time.Unix()), r.partition)
		}
	}
}

func (x *records) run(ch chan<- prometheus.Metric, partition string, r *repository.Run) {
	x.ended.value(ch, float64(r.Ended.Unix()), partition, r.Command)
	x.duration.value(ch, r.Ended.Sub(r.Begun).Seconds(), partition, r.Command)
	x.backups.value(ch, float64(r.Backups), partition, r.Command)
	x.failed.value(ch, float64(r.Failed), partition, r.Command)
	for _, result := range []string{repository.RunOK, repository.RunFailed, repository.RunIncomplete} {
		x.result.value(ch, number(result == r.Result), partition, r.Command, result)
	}
}
