package ctlbackups

import (
	"cmp"
	"errors"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// verifyBackups checks backups, and prints a line for each problem. Bodies that the mail server
// must send again, and history that is known to be lost, do not count as damage.
func verifyBackups(c *command) error {
	if c.repair {
		return repair(c)
	}
	if c.seals {
		return c.verifySeals()
	}
	if c.read.given() {
		return c.verifyPart()
	}
	n, run := verifiedAtOnce, repository.RunVerify
	if c.quick {
		n, run = atOnce, repository.RunQuick
	}
	v := &verification{record: c.beginRun(run)}
	err := sideBySide(c, n, v.record.counting(c.chosen()), v.one)
	v.record.end(false, err)
	return err
}

// verifyPart verifies those backups of each partition that were verified least recently.
func (c *command) verifyPart() error {
	l := &partials{c: c, list: map[string]*partial{}}
	v := &verification{record: c.beginRun(repository.RunPart), verified: l.verified}
	n := verifiedAtOnce
	if c.read.bytes > 0 {
		n = 1 // nobody knows how many bytes the next backup has
	}
	err := sideBySide(c, n, v.record.counting(l.backups()), v.one)
	v.record.end(false, err)
	return cmp.Or(err, l.keep())
}

// verification is a run of verify.
type verification struct {
	partitions verify.Partitions
	record     *runRecord
	// verified is called with each result that is final; may be nil.
	verified func(f *repository.Found, done verify.Result, failed bool)
}

// one verifies a backup.
func (v *verification) one(c *command, f *repository.Found) error {
	if c.quick {
		f = f.Listed()
	}
	done, err := verify.Run(c.ctx, f, verify.Options{
		Quick:  c.quick,
		Report: func(p verify.Problem) { c.problem(f, p) },
		Step:   c.stepper(f),

		Partitions: &v.partitions,
	})
	if c.verbose > 0 {
		cli.Fprintf(c.out, "%s: %s, %s, %s, %s, %s (%s), %s, %s\n", label(f), objects(int64(done.Objects), "object"), objects(int64(done.Commits), "commit"),
			objects(int64(done.Checkpoints), "checkpoint"), english.Plural(int(done.Mailboxes), "mailbox", "mailboxes"), objects(int64(done.Messages), "message"), binary(done.Bytes),
			objects(int64(done.Damaged), "problem"), english.Plural(int(done.Missing), "missing body", "missing bodies")+erasedMessages(done.Erased))
	}
	damaged := err == nil && done.Damaged > 0
	v.record.add(f.Partition.Name, err != nil || damaged)
	if v.verified != nil && c.ctx.Err() == nil {
		v.verified(f, done, err != nil || damaged)
	}
	if damaged {
		err = errors.New(objects(int64(done.Damaged), "problem"))
	}
	if perr := c.status("verify", f, err); perr != nil {
		return perr
	}
	if damaged {
		return cli.ErrReported
	}
	return err
}

// erasedMessages counts messages that were erased, if there are any.
func erasedMessages(n int) string {
	if n == 0 {
		return ""
	}
	return ", " + objects(int64(n), "erased message")
}

// stepper prints each step with -v.
func (c *command) stepper(f *repository.Found) func(string) {
	if c.verbose == 0 {
		return nil
	}
	return func(what string) { cli.Fprintf(c.out, "%s: %s...\n", label(f), what) }
}

// problem writes a problem: with -j to standard error, where it does not break the JSON.
func (c *command) problem(f *repository.Found, p verify.Problem) {
	w := c.out
	if c.structured() {
		w = c.err
	}
	cli.Fprintf(w, "%s: %s\n", label(f), p)
}
