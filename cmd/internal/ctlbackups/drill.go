package ctlbackups

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/cmd/internal/syncport"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client"
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
	faults int           // backups that were not compared, because of the server
	server *drill.Server // nil = a directory
	gone   bool          // the server no longer answers
	empty  int           // backups without a mailbox
}

// drillBackups restores sampled backups into a scratch directory or a server, one after another, and
// compares them with what the mail server reported.
func drillBackups(c *command) error {
	d := &drilling{command: c, record: c.beginRun(repository.RunDrill)}
	end, err := d.begin()
	if err == nil {
		drawn := c.sampled(d.drillable(c.chosen()), func() int { return d.done + d.faults })
		err = errors.Join(c.eachOf(d.answered(d.record.counting(drawn)), d.one), end())
	}
	d.record.end(false, err)
	c.audit.Done(c.bucket.Conf, "drill", err, "what", c.what(), "to", c.to, "backups", d.done, "failed", d.failed, "messages", d.total.Messages)
	if perr := d.summary(); perr != nil {
		return perr
	}
	return err
}

// begin finds out whether the server can be used, before it restores anything. A drill that cannot begin
// is recorded, because nobody reads what a drill prints at night.
func (d *drilling) begin() (end func() error, err error) {
	if d.to == "" {
		return func() error { return nil }, nil
	}
	d.record.server = d.to
	end, err = d.useServer()
	if err != nil && d.ctx.Err() == nil {
		d.record.notRun(err)
	}
	return end, err
}

// useServer locks the server against other drills of this host, and removes what one has left.
func (d *drilling) useServer() (release func() error, err error) {
	dial, err := syncport.Dialer(d.bucket.Conf, d.to, false)
	if err != nil {
		return nil, err
	}
	d.server = drill.NewServer(d.to, d.host, dial)
	release, err = d.server.Lock()
	if err != nil {
		return nil, err
	}
	if err := d.server.Clear(d.ctx, d.now); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// answered yields backups as long as the server answers. Each further one would wait for it.
func (d *drilling) answered(backups iter.Seq2[*repository.Found, error]) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range backups {
			if d.gone || !yield(f, err) {
				return
			}
		}
	}
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
	if out.Nothing && out.Problems == 0 && err == nil {
		return d.nothing(f, out)
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
	if errors.Is(err, client.ErrIdle) {
		d.gone = true
		d.record.notRun(err)
	}
	if perr := d.print(f, out, err); perr != nil {
		return perr
	}
	return fmt.Errorf("%s: %w", label(f), err)
}

// nothing reports a backup that has only deleted mailboxes. It proves nothing, so it does not count, and
// another one is drawn.
func (d *drilling) nothing(f *repository.Found, out drill.Result) error {
	d.empty++
	if d.users > 0 || d.share > 0 {
		return nil
	}
	return d.print(f, out, nil)
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
