package ctlbackups

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/cmd/internal/syncport"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// drillUsers is how many backups are restored if the command line does not say.
const drillUsers = 3

// notCompared is the status of a backup whose drill the server has prevented.
const notCompared = "not compared"

// drilling is a run of drill.
type drilling struct {
	*command
	record *runRecord
	total  drill.Result
	done   int
	failed int
	faults int           // backups that were not compared, because of the server
	server *drill.Server // nil = a directory
}

// drillBackups restores sampled backups into a scratch directory or a server, one after another, and
// compares them with what the mail server reported.
func drillBackups(c *command) error {
	d := &drilling{command: c, record: c.beginRun(repository.RunDrill)}
	end, err := d.begin()
	if err == nil {
		err = errors.Join(c.eachOf(d.record.counting(c.sampled(d.drillable(c.chosen()))), d.one), end())
	}
	d.record.end(false, err)
	c.audit.Done(c.bucket.Conf, "drill", err, "what", c.what(), "to", c.to, "backups", d.done, "failed", d.failed, "messages", d.total.Messages)
	if perr := d.summary(); perr != nil {
		return perr
	}
	return err
}

// begin finds out whether the server can be used, before it restores anything.
func (d *drilling) begin() (end func() error, err error) {
	if d.to == "" {
		return func() error { return nil }, nil
	}
	dial, err := syncport.Dialer(d.bucket.Conf, d.to, false)
	if err != nil {
		return nil, err
	}
	d.server, d.record.server = drill.NewServer(d.to, d.host, dial), d.to
	release, err := d.server.Lock()
	if err != nil {
		return nil, err
	}
	if err := d.server.Clear(d.ctx, d.now); err != nil {
		if d.ctx.Err() == nil {
			d.record.notRun(err)
		}
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// drillable leaves out the backup of the scratch user. A server for drills may have been backed up, too.
func (d *drilling) drillable(backups iter.Seq2[*repository.Found, error]) iter.Seq2[*repository.Found, error] {
	if d.to == "" || d.mode != modeAll {
		return backups
	}
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range backups {
			if err == nil && userID(f) == drill.ScratchUser {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// one restores one backup.
func (d *drilling) one(f *repository.Found) error {
	name := label(f)
	if d.server != nil && userID(f) == drill.ScratchUser {
		return fmt.Errorf("%s: is the scratch user of drills: it cannot be restored as itself", name)
	}
	var first error
	problem := func(err error) {
		first = cmp.Or(first, err)
		cli.Fprintf(d.err, "ctl_backups: %s: %v\n", name, err)
	}
	out, err := drill.Run(d.ctx, f, drill.Options{
		Scratch: d.scratch, Server: d.server, Now: d.now, Clock: time.Now,
		DefaultDomain: d.bucket.Conf.String("defaultdomain"), DeletedPrefix: d.bucket.Conf.String("deletedprefix"),
		AdminForm: stores.AdminForm(d.bucket.Conf),
		Problem:   problem,
		Note:      func(s string) { cli.Fprintf(d.err, "ctl_backups: %s: note: %s\n", name, s) },
	})
	d.left(f, out.Left)
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	if fault := new(drill.ServerError); errors.As(err, &fault) && out.Problems == 0 {
		return d.notCompared(f, out, err)
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
	switch {
	case errors.Is(err, cli.ErrReported):
		return cli.ErrReported
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case out.Left != nil:
		return cli.ErrReported
	}
	return nil
}

// left reports that the server still has the mail of a backup, also if the drill was interrupted.
func (d *drilling) left(f *repository.Found, err error) {
	if err == nil {
		return
	}
	d.record.fault(f.Partition.Name, err)
	cli.Fprintf(d.err, "ctl_backups: %s: %v\n", label(f), err)
	d.audit.Alarm(d.bucket.Conf, "a drill has left mail on a server", "backup", f.Path, "to", d.to, "err", err)
}

// notCompared reports a fault of the server, which is no fault of the backup.
func (d *drilling) notCompared(f *repository.Found, out drill.Result, err error) error {
	d.faults++
	d.record.fault(f.Partition.Name, err)
	if perr := d.print(f, out, err); perr != nil {
		return perr
	}
	return fmt.Errorf("%s: %w", label(f), err)
}

// print prints the result for a backup.
func (d *drilling) print(f *repository.Found, out drill.Result, err error) error {
	word, reason := statusOf(err)
	if fault := new(drill.ServerError); errors.As(err, &fault) && out.Problems == 0 {
		word = notCompared
	}
	if d.structured() {
		return d.object(struct {
			Command   string    `json:"command"`
			UserID    string    `json:"userid,omitempty"`
			Path      string    `json:"fname"`
			Server    string    `json:"server,omitempty"`
			Status    string    `json:"status"`
			Reason    string    `json:"reason,omitempty"`
			AsOf      time.Time `json:"as_of,omitzero"`
			Mailboxes int       `json:"mailboxes"`
			Messages  int       `json:"messages"`
			Bytes     int64     `json:"bytes"`
			Seconds   float64   `json:"seconds"`
			Problems  int       `json:"problems"`
		}{"drill", userID(f), place(f), d.to, word, strings.TrimSuffix(reason, ": "+cli.ErrReported.Error()), out.AsOf,
			out.Mailboxes, out.Messages, out.Bytes, out.Took.Seconds(), out.Problems})
	}
	text := word
	if !out.AsOf.IsZero() && word != notCompared {
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
	if d.done+d.faults < 2 || d.structured() {
		return nil
	}
	result := "all equal the backup"
	if d.failed > 0 || d.faults > 0 {
		result = fmt.Sprintf("%d failed", d.failed)
	}
	if d.faults > 0 {
		result += fmt.Sprintf(", %d not compared because of %s", d.faults, d.to)
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
func (c *command) checkDrill() (err error) {
	switch {
	case c.scratch != "" && c.to != "":
		return cli.Usagef("only one of --scratch and --to can be given")
	case c.to != "":
		if c.to, err = syncport.ParseTo(c.to, "write a Cyrus server as HOST, HOST:PORT, HOST:PORT/tls or sync://HOST; --scratch DIR is for files"); err != nil {
			return err
		}
	case c.scratch == "":
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
