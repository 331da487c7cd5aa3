package ctlbackups

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// drillUsers is how many backups are restored if the command line does not say.
const drillUsers = 3

// drilling is a run of drill.
type drilling struct {
	*command
	record *runRecord
	total  drill.Result
	done   int
	failed int
}

// drillBackups restores sampled backups into a scratch directory, one after another, and compares them
// with what the mail server reported.
func drillBackups(c *command) error {
	d := &drilling{command: c, record: c.beginRun(repository.RunDrill)}
	err := c.eachOf(d.record.counting(c.sampled(c.chosen())), d.one)
	d.record.end(false, err)
	c.audit.Done(c.bucket.Conf, "drill", err, "what", c.what(), "backups", d.done, "failed", d.failed, "messages", d.total.Messages)
	if perr := d.summary(); perr != nil {
		return perr
	}
	return err
}

// one restores one backup.
func (d *drilling) one(f *repository.Found) error {
	name := label(f)
	var first error
	problem := func(err error) {
		first = cmp.Or(first, err)
		cli.Fprintf(d.err, "ctl_backups: %s: %v\n", name, err)
	}
	out, err := drill.Run(d.ctx, f, drill.Options{
		Scratch: d.scratch, Now: d.now, Clock: time.Now,
		DefaultDomain: d.bucket.Conf.String("defaultdomain"), DeletedPrefix: d.bucket.Conf.String("deletedprefix"),
		AdminForm: stores.AdminForm(d.bucket.Conf),
		Problem:   problem,
		Note:      func(s string) { cli.Fprintf(d.err, "ctl_backups: %s: note: %s\n", name, s) },
	})
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	d.done++
	d.total.Messages += out.Messages
	d.total.Bytes += out.Bytes
	d.total.Took += out.Took
	if err == nil && out.Problems > 0 {
		err = fmt.Errorf("%s: %w", objects(int64(out.Problems), "problem"), cli.ErrReported)
	}
	d.record.add(f.Partition.Name, err != nil)
	d.record.restored(f.Partition.Name, out)
	if err != nil {
		d.failed++
		// master discards what the program prints.
		d.audit.Alarm(d.bucket.Conf, "a drill could not restore everything", "backup", f.Path, "partition", f.Partition.Name,
			"problems", out.Problems, "err", cmp.Or(first, err))
	}
	if perr := d.print(f, out, err); perr != nil {
		return perr
	}
	if errors.Is(err, cli.ErrReported) {
		return cli.ErrReported
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// print prints the result for a backup.
func (d *drilling) print(f *repository.Found, out drill.Result, err error) error {
	word, reason := statusOf(err)
	if d.structured() {
		return d.object(struct {
			Command   string    `json:"command"`
			UserID    string    `json:"userid,omitempty"`
			Path      string    `json:"fname"`
			Status    string    `json:"status"`
			Reason    string    `json:"reason,omitempty"`
			AsOf      time.Time `json:"as_of,omitzero"`
			Mailboxes int       `json:"mailboxes"`
			Messages  int       `json:"messages"`
			Bytes     int64     `json:"bytes"`
			Seconds   float64   `json:"seconds"`
			Problems  int       `json:"problems"`
		}{"drill", userID(f), place(f), word, strings.TrimSuffix(reason, ": "+cli.ErrReported.Error()), out.AsOf,
			out.Mailboxes, out.Messages, out.Bytes, out.Took.Seconds(), out.Problems})
	}
	text := word
	if !out.AsOf.IsZero() {
		text += fmt.Sprintf(": %s in %s, %s, as of %s", objects(int64(out.Messages), "message"),
			english.Plural(out.Mailboxes, "mailbox", "mailboxes"), inTime(out.Bytes, out.Took), timespec.Text(out.AsOf))
	}
	if out.Problems > 0 {
		text += "; " + objects(int64(out.Problems), "problem")
	}
	_, perr := cli.Fprintf(d.out, "drill %s: %s\n", label(f), text)
	return perr
}

// summary prints the sum, if more than one backup was restored.
func (d *drilling) summary() error {
	if d.done < 2 || d.structured() {
		return nil
	}
	result := "all equal the backup"
	if d.failed > 0 {
		result = fmt.Sprintf("%d failed", d.failed)
	}
	_, err := cli.Fprintf(d.out, "%s, %s, %s: %s\n", objects(int64(d.done), "backup"), objects(int64(d.total.Messages), "message"),
		inTime(d.total.Bytes, d.total.Took), result)
	return err
}

// inTime formats how many bytes were restored in a time, and how fast.
func inTime(bytes int64, took time.Duration) string {
	rate := float64(bytes) / max(took, time.Millisecond).Seconds()
	return fmt.Sprintf("%s in %.1f s (%s/s)", binary(bytes), took.Seconds(), binary(int64(rate)))
}

// checkDrill checks the options of drill. Without names, it draws from all backups.
func (c *command) checkDrill() error {
	if c.scratch == "" {
		c.scratch = os.TempDir()
	}
	if c.users > 0 && c.share > 0 {
		return cli.Usagef("only one of --users and --share can be given")
	}
	if c.mode != modeAll && len(c.args) == 0 {
		c.mode = modeAll
		if c.users == 0 && c.share == 0 {
			c.users = drillUsers
		}
	}
	return nil
}
