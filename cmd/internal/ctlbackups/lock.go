package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lock locks one backup against every backupd while a command runs, or until standard input
// ends.
func lock(c *command) error {
	name := c.args[0]
	if c.execute == "" {
		cli.Fprintf(c.out, "* Trying to obtain lock on %s...\n", name)
	} else {
		cli.Fprintf(c.err, "trying to obtain lock on %s...\n", name)
	}
	if err := c.flush(); err != nil {
		return err
	}
	f, l, err := c.obtain(name)
	if err != nil {
		return c.unlocked(name, err)
	}
	if c.execute == "" {
		fmt.Fprintln(c.out, "OK locked")
		if err := c.flush(); err != nil {
			return errors.Join(err, l.Release(c.ctx))
		}
	}
	// Release the lock even if the tool is interrupted.
	err = c.whileLocked(f, l)
	return errors.Join(err, l.Release(context.WithoutCancel(c.ctx)))
}

// unlocked reports, in the format of Cyrus's ctl_backups, that the lock was not obtained.
func (c *command) unlocked(name string, err error) error {
	if c.execute == "" {
		cli.Fprintf(c.out, "NO failed (%v)\n", err)
	}
	cli.Fprintf(c.err, "unable to lock %s: %v\n", name, err)
	return cli.ErrReported
}

func (c *command) obtain(name string) (*repository.Found, *repository.Lock, error) {
	f, err := c.toLock(name)
	if err != nil {
		return nil, nil, err
	}
	l, err := f.Lock(c.ctx, c.lockOptions("lock"))
	return f, l, err
}

// toLock returns the backup; with -c it creates the backup.
func (c *command) toLock(name string) (*repository.Found, error) {
	f, err := c.bucket.Find(c.ctx, c.single(), name)
	if !c.create {
		return f, err
	}
	if err == nil {
		return nil, fmt.Errorf("%s: %w", place(f), objstore.ErrExist)
	}
	if !errors.Is(err, repository.ErrNoBackup) {
		return nil, err
	}
	n, err := c.bucket.Name(c.single(), name)
	if err != nil {
		return nil, err
	}
	set, end, err := c.scratchSet()
	if err != nil {
		return nil, err
	}
	f, err = set.Create(c.ctx, n)
	return f, errors.Join(err, end())
}

// whileLocked runs the command, or waits for the end of standard input. It stops if the lock
// is lost.
func (c *command) whileLocked(f *repository.Found, l *repository.Lock) error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(l.Lost(), cancel)()
	if c.execute == "" {
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, c.in)
			ended <- err
		}()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done(): // Release reports a lost lock
			return c.ctx.Err()
		}
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", c.execute)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.direct, cli.Raw(c.err)
	if c.direct == nil {
		cmd.Stdout = c.out
	}
	cmd.Env = append(os.Environ(),
		"ctl_backups_lock_data_fname="+f.Partition.Location+"/backups/"+f.Path,
		"ctl_backups_lock_index_fname="+c.bucket.Conf.String("backup_index_path"))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", c.execute, err)
	}
	return nil
}

// flush writes buffered output, because another program may wait for it.
func (c *command) flush() error {
	if f, ok := c.out.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}
