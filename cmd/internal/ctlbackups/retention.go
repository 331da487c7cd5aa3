package ctlbackups

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// leastDeletedFolders is the least default of backup_deleted_folders.
const leastDeletedFolders = 30 * 24 * time.Hour

// retentionPolicy returns the policy in imapd.conf. Keep is 0 if nothing is ever removed.
func retentionPolicy(conf *imapconf.File) maintenance.Policy {
	p := maintenance.Policy{
		Keep:  max(conf.Duration("backup_retention"), 0),
		Daily: conf.Int("backup_keep_daily"), Weekly: conf.Int("backup_keep_weekly"),
		Monthly: conf.Int("backup_keep_monthly"), Yearly: conf.Int("backup_keep_yearly"),
		DeletedFolders: max(conf.Duration("backup_retention"), leastDeletedFolders),
		DeletedPrefix:  conf.String("deletedprefix"),
		LogMinAge:      max(conf.Duration("backup_log_min_age"), maintenance.MinLogAge),
	}
	if p.Keep > 0 {
		p.Keep = max(p.Keep, p.LogMinAge)
	}
	if conf.IsSet("backup_deleted_folders") {
		p.DeletedFolders = max(conf.Duration("backup_deleted_folders"), 0)
	}
	return p
}

// retention is the retention of a run of compact.
type retention struct {
	c       *command
	options maintenance.RetainOptions
	rule    tripwire.Rule
	watches map[string]*erasure.Watch // by partition

	backups                   int // with removed moments
	pruned                    int // with dropped content or folders
	log, checkpoints, records maintenance.Removed
}

// newRetention returns the retention for a verb, compact or erase.
func newRetention(c *command, level pack.Level, verb string) (*retention, error) {
	rule, err := stores.Tripwire(c.bucket.Conf)
	if err != nil {
		return nil, err
	}
	r := &retention{c: c, rule: rule}
	r.options = maintenance.RetainOptions{Policy: retentionPolicy(c.bucket.Conf), Lock: c.lockOptions(verb), Pack: pack.Options{Level: level}, DryRun: c.dryRun, Before: r.tripwire, Erasing: r.erasing}
	return r, nil
}

// erasing reports whether an erasure of the history of a backup is open.
func (r *retention) erasing(ctx context.Context, f *repository.Found) (bool, error) {
	w := r.watches[f.Partition.Name]
	if w == nil {
		w = erasure.NewWatch(f.Partition, r.c.hostNow)
		if r.watches == nil {
			r.watches = map[string]*erasure.Watch{}
		}
		r.watches[f.Partition.Name] = w
	}
	return w.OfHistory(ctx, f)
}

// tripwire places a hold, and returns ErrOnHold, if much of the mail of a backup was deleted.
// Until retention removes a deleted message, the backup shows its deletion.
func (r *retention) tripwire(ctx context.Context, f *repository.Found) error {
	c := r.c
	a, err := r.alarm(ctx, f)
	if a == nil || err != nil {
		return err
	}
	if err := f.PlaceHold(ctx, a.Hold("ctl_backups compact on "+c.host), c.hostNow); err != nil {
		return fmt.Errorf("%v; the hold cannot be placed: %w", a, err)
	}
	c.audit.Alarm(c.bucket.Conf, a.Headline(), "backup", f.Path, "deleted", a.Deleted, "of", a.Of, "from", a.From, "to", a.To)
	cli.Fprintf(c.err, "ctl_backups: %s: %s: %s\n", label(f), a.Headline(), a.String())
	return fmt.Errorf("%w: %v", repository.ErrOnHold, a)
}

// alarm returns the alarm of the tripwire for a backup, or nil.
func (r *retention) alarm(ctx context.Context, f *repository.Found) (*tripwire.Alarm, error) {
	return tripwire.Check(ctx, f, tripwire.Options{Rule: r.rule, DeletedPrefix: r.options.DeletedPrefix, Now: r.c.hostNow()})
}

// due reports whether retention may have anything to do.
func (r *retention) due(f *repository.Found) (bool, error) {
	return maintenance.RetainDue(r.c.ctx, f, r.options)
}

// run removes the moments of a backup that are not kept. It reports whether anything has changed.
func (r *retention) run(f *repository.Found, u *repository.Upkeep) (maintenance.RetainResult, error) {
	done, err := maintenance.Retain(r.c.ctx, f, u, r.options)
	if done.Cut.Number > 0 && err == nil {
		r.backups++
	}
	if err == nil && (done.Pruned || done.Folders > 0) {
		r.pruned++
	}
	for _, add := range []struct{ to, n *maintenance.Removed }{{&r.log, &done.Log}, {&r.checkpoints, &done.Checkpoints}, {&r.records, &done.Records}} {
		add.to.Objects += add.n.Objects
		add.to.Bytes += add.n.Bytes
	}
	return done, err
}

// preview shows what run would do, unless the tripwire would stop it.
func (r *retention) preview(f *repository.Found) (maintenance.RetainResult, error) {
	a, err := r.alarm(r.c.ctx, f)
	if err == nil && a != nil {
		err = fmt.Errorf("%w: compact would place a hold: %v", repository.ErrOnHold, a)
	}
	if err != nil {
		return maintenance.RetainResult{}, err
	}
	return r.run(f, nil)
}

// removedText describes removed objects by kind, without those kinds that have none.
func removedText(log, checkpoints, records maintenance.Removed) string {
	var parts []string
	for _, x := range []struct {
		n           maintenance.Removed
		thing, more string
	}{{log, "object", " of the log"}, {checkpoints, "checkpoint", ""}, {records, "object", " with records"}} {
		if x.n.Objects > 0 {
			parts = append(parts, objects(int64(x.n.Objects), x.thing)+x.more)
		}
	}
	return fmt.Sprintf("%s (%s)", strings.Join(parts, ", "), binary(log.Bytes+checkpoints.Bytes+records.Bytes))
}

// text describes the result of a backup; "" = nothing has changed.
func (r *retention) text(d *maintenance.RetainResult) string {
	var parts []string
	if d.Cut.Number > 0 {
		parts = append(parts, fmt.Sprintf("the history up to commit %d (%s): %s",
			d.Cut.Number, timespec.Text(d.Cut.Time), removedText(d.Log, d.Checkpoints, d.Records)))
		var kept []string
		for _, k := range d.Kept {
			kept = append(kept, fmt.Sprintf("%d (%s)", k.Number, strings.Join(k.Rules, ", ")))
		}
		if len(kept) > 0 {
			parts = append(parts, "keeping commits "+strings.Join(kept, ", "))
		}
	}
	if d.Pruned {
		parts = append(parts, "content that was deleted more than "+days(r.options.Keep)+" ago")
	}
	if d.Folders > 0 {
		parts = append(parts, fmt.Sprintf("%s below %s", objects(int64(d.Folders), "folder"), r.options.DeletedPrefix))
	}
	return strings.Join(parts, "; ")
}

func days(d time.Duration) string { return fmt.Sprintf("%.4g days", d.Hours()/24) }

// summary prints the totals.
func (r *retention) summary() error {
	if r.options.Keep == 0 {
		cli.Fprintf(r.c.err, "ctl_backups: backup_retention is not set: everything is kept for ever\n")
		return nil
	}
	var parts []string
	would := "removed"
	if r.c.dryRun {
		would = "would remove"
	}
	if r.backups > 0 {
		parts = append(parts, fmt.Sprintf("%s the older history of %s: %s", would, objects(int64(r.backups), "backup"), removedText(r.log, r.checkpoints, r.records)))
	}
	if r.pruned > 0 {
		parts = append(parts, fmt.Sprintf("%s deleted content of %s", would, objects(int64(r.pruned), "backup")))
	}
	text := "nothing to remove"
	if len(parts) > 0 {
		text = strings.Join(parts, "; ")
	}
	_, err := cli.Fprintf(r.c.out, "retention: %s: %s\n", r.options.String(), text)
	return err
}

// retained is the result of the retention of a backup as JSON.
type retained struct {
	UpTo        uint64              `json:"up_to,omitempty"` // the last removed commit
	Time        time.Time           `json:"time,omitzero"`   // of that commit
	Log         maintenance.Removed `json:"log"`
	Checkpoints maintenance.Removed `json:"checkpoints"`
	Records     maintenance.Removed `json:"records"`
	Pruned      bool                `json:"pruned"` // deleted content was dropped
	Folders     int                 `json:"folders"`
	Kept        []keptMoment        `json:"kept,omitempty"`
}

type keptMoment struct {
	Number uint64    `json:"number"`
	Time   time.Time `json:"time,omitzero"`
	Rules  []string  `json:"rules"`
}

// retainedOf returns nil if nothing has changed.
func retainedOf(d *maintenance.RetainResult) *retained {
	if !d.Changed() {
		return nil
	}
	out := &retained{UpTo: d.Cut.Number, Time: d.Cut.Time, Log: d.Log, Checkpoints: d.Checkpoints, Records: d.Records, Pruned: d.Pruned, Folders: d.Folders}
	for _, k := range d.Kept {
		out.Kept = append(out.Kept, keptMoment{k.Number, k.Time, k.Rules})
	}
	return out
}
