// Command ctl_backups administers backups: docs/man/ctl_backups.8.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"backupd/cmd/internal/cli"
	"backupd/internal/version"
)

const usage = `usage: ctl_backups [options] list [-t[hours]] [[mode] backup...]
       ctl_backups [options] reindex [mode] backup...
       ctl_backups [options] passwd USER          (the password is read from standard input)
       ctl_backups [options] passwd --delete USER | --list
modes:  -A, --all      every backup (the default of list)
        -u, --userids  backups are userids (the default)
        -m, --mailboxes, -f, --filenames (paths in the bucket, as user/anne)
        -D, --domains, -P, --prefixes (of userids)
options: -C, --config file   imapd.conf (default /etc/imapd.conf)
         -j, --json          one JSON object for each backup
         -S, --stop-on-error stop at the first backup that fails
         -t, --stale[=hours] list: only backups without a change for so long (24)
         -v, --verbose
Examples:
  ctl_backups list -t48 -A       who has not been backed up for two days
  ctl_backups reindex -A         make the local index anew from the bucket
  echo secret | ctl_backups passwd repl
`

func main() {
	out := bufio.NewWriter(os.Stdout)
	code := cli.Main("ctl_backups", usage, os.Stderr, func(ctx context.Context) error {
		err := run(ctx, os.Args[1:], os.Stdin, out, os.Stderr)
		if flushed := out.Flush(); err == nil {
			err = flushed
		}
		return err
	})
	os.Exit(code)
}

// command is a run of the program.
type command struct {
	ctx    context.Context
	bucket *cli.Bucket
	in     io.Reader
	out    io.Writer
	err    io.Writer
	args   []string

	config  string
	mode    mode
	json    bool
	stop    bool
	stale   int // hours; -1 = all
	verbose int
	remove  bool
	list    bool
}

func run(ctx context.Context, argv []string, in io.Reader, out, stderr io.Writer) error {
	c := &command{ctx: ctx, in: in, out: out, err: stderr}
	f := pflag.NewFlagSet("ctl_backups", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVarP(&c.config, "config", "C", "/etc/imapd.conf", "")
	f.BoolVarP(&c.json, "json", "j", false, "")
	f.BoolVarP(&c.stop, "stop-on-error", "S", false, "")
	f.CountVarP(&c.verbose, "verbose", "v", "")
	f.IntVarP(&c.stale, "stale", "t", -1, "")
	f.Lookup("stale").NoOptDefVal = "24"
	f.BoolVar(&c.remove, "delete", false, "")
	f.BoolVar(&c.list, "list", false, "")
	modes := map[mode]*bool{}
	for _, m := range allModes() {
		modes[m] = f.BoolP(m.long(), m.short(), false, "")
	}
	help := f.BoolP("help", "h", false, "")
	showVersion := f.Bool("version", false, "")
	if err := f.Parse(argv); err != nil {
		return cli.Usagef("%v", err)
	}
	switch {
	case *help:
		_, err := io.WriteString(out, usage)
		return err
	case *showVersion:
		_, err := fmt.Fprintln(out, "ctl_backups", version.Number())
		return err
	case f.NArg() == 0:
		return cli.Usagef("a command is needed")
	case c.json && c.verbose > 0:
		return cli.Usagef("-j and -v cannot be used together")
	}
	if err := c.setMode(modes); err != nil {
		return err
	}
	c.args = f.Args()[1:]
	return c.do(f.Arg(0))
}

func (c *command) do(verb string) error {
	table := map[string]func(*command) error{"list": list, "reindex": reindex, "passwd": passwd}
	do, ok := table[verb]
	if !ok {
		return cli.Usagef("%q is not a command", verb)
	}
	if verb != "passwd" {
		if err := c.checkNames(verb); err != nil {
			return err
		}
		var err error
		if c.bucket, err = cli.Open(c.ctx, c.config, "ctl_backups"); err != nil {
			return err
		}
		defer c.bucket.Close()
	}
	return do(c)
}

func (c *command) checkNames(verb string) error {
	switch {
	case c.mode == modeAll && len(c.args) > 0:
		return cli.Usagef("-A takes no names, and %q was given", strings.Join(c.args, " "))
	case c.mode != modeAll && len(c.args) == 0 && verb == "list":
		c.mode = modeAll
	case c.mode != modeAll && len(c.args) == 0:
		return cli.Usagef("%s needs a backup, or -A for all", verb)
	}
	return nil
}
