// Command ctl_backups administers backups.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"backupd/cmd/internal/cli"
	"backupd/internal/version"
	"backupd/partitions"
)

const usage = `usage: ctl_backups [options] list [-t[hours]] [[mode] backup...]
       ctl_backups [options] lock [-c] [-p | -x command] [mode] backup
       ctl_backups [options] reindex [mode] backup...
       ctl_backups [options] stat [mode] backup...
       ctl_backups [options] verify [--quick] [mode] backup...
       ctl_backups [options] import FILE|DIRECTORY...   (data files of Cyrus Backups, with their history)
       ctl_backups [options] passwd USER          (the password is read from standard input)
       ctl_backups [options] passwd --delete USER | --list
modes:  -A, --all      every backup (the default of list)
        -u, --userids  backups are userids (the default)
        -m, --mailboxes, -f, --filenames (paths in the bucket, as user/anne)
        -D, --domains, -P, --prefixes (of userids)
options: -C, --config file   imapd.conf (default /etc/imapd.conf)
         -h, --human         sizes as 1.2 MB
         -j, --json          one JSON object for each backup; --ndjson: each in one line
         -q, --quick         verify: only the newest checkpoint and commits, no messages
         -w, --wait-for-locks  wait for a lock that somebody else holds
         -p, --pause         lock: until standard input ends (the default)
         -x, --execute=cmd   lock: while /bin/sh runs the command
         -c, --create        lock: make the backup, which must not be there yet
         -S, --stop-on-error stop at the first backup that fails
         -t, --stale[=hours] list: only backups without a change for so long (24)
         -v, --verbose       say more
         --help, --version
Examples:
  ctl_backups list -t48 -A       who has not been backed up for two days
  ctl_backups stat -h anne       what anne's backup takes, and how much of it is still wanted
  ctl_backups verify -v -A       read everything, and compare it with what it should be
  ctl_backups lock anne -x "rclone sync /var/spool/backup remote:copy"
  ctl_backups import /var/spool/cyrus/backup       before the first sync of those users
  ctl_backups reindex -A         make the local index anew from the bucket
  echo secret | ctl_backups passwd repl
`

func main() {
	out := bufio.NewWriter(os.Stdout)
	code := cli.Main("ctl_backups", usage, os.Stderr, func(ctx context.Context) error {
		c := &command{ctx: ctx, open: cli.Open, now: time.Now(), in: os.Stdin, out: out, err: os.Stderr}
		err := c.run(os.Args[1:])
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
	open   cli.Opener
	bucket *cli.Bucket
	now    time.Time
	clock  func() time.Time // nil: the real one
	// setOptions are what tests set of a Set that is opened here.
	setOptions partitions.Options
	host       string // of commits that are made here
	in         io.Reader
	out        io.Writer
	err        io.Writer
	args       []string

	config  string
	mode    mode
	json    bool
	ndjson  bool
	human   bool
	wait    bool
	create  bool
	pause   bool
	execute string
	quick   bool
	stop    bool
	stale   int // hours; -1 = all
	verbose int
	remove  bool
	list    bool
}

func (c *command) run(argv []string) error {
	f := pflag.NewFlagSet("ctl_backups", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVarP(&c.config, "config", "C", "/etc/imapd.conf", "")
	f.BoolVarP(&c.json, "json", "j", false, "")
	f.BoolVar(&c.ndjson, "ndjson", false, "")
	f.BoolVarP(&c.human, "human", "h", false, "")
	f.BoolVarP(&c.quick, "quick", "q", false, "")
	f.BoolVarP(&c.wait, "wait-for-locks", "w", false, "")
	f.BoolVarP(&c.create, "create", "c", false, "")
	f.BoolVarP(&c.pause, "pause", "p", false, "")
	f.StringVarP(&c.execute, "execute", "x", "", "")
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
	help := f.Bool("help", false, "")
	showVersion := f.Bool("version", false, "")
	if err := f.Parse(glued(argv)); err != nil {
		return cli.Usagef("%v", err)
	}
	switch {
	case *help:
		_, err := io.WriteString(c.out, usage)
		return err
	case *showVersion:
		_, err := fmt.Fprintln(c.out, "ctl_backups", version.Number())
		return err
	case f.NArg() == 0:
		return cli.Usagef("a command is needed")
	case c.structured() && c.verbose > 0:
		return cli.Usagef("-j and -v cannot be used together")
	}
	if err := c.setMode(modes); err != nil {
		return err
	}
	c.args = f.Args()[1:]
	return c.do(f.Arg(0))
}

func (c *command) do(verb string) error {
	table := map[string]func(*command) error{"list": list, "reindex": reindex, "stat": stat, "verify": verify, "passwd": passwd, "lock": lock, "import": importFiles}
	do, ok := table[verb]
	if !ok {
		return cli.Usagef("%q is not a command", verb)
	}
	if verb != "passwd" {
		if err := c.checkNames(verb); err != nil {
			return err
		}
		var err error
		if c.bucket, err = c.open(c.ctx, c.config, "ctl_backups"); err != nil {
			return err
		}
		defer c.bucket.Close()
		if c.host, err = c.bucket.Conf.ServerName(); err != nil {
			return err
		}
	}
	return do(c)
}

func (c *command) checkNames(verb string) error {
	switch {
	case verb == "import" && (c.mode != modeUsers || len(c.args) == 0):
		return cli.Usagef("import takes files and directories, and no mode")
	case verb == "lock" && (len(c.args) != 1 || c.mode == modeAll || c.mode == modeDomains || c.mode == modePrefixes):
		return cli.Usagef("lock takes exactly one backup")
	case c.pause && c.execute != "":
		return cli.Usagef("only one of -p and -x can be given")
	case verb != "lock" && (c.pause || c.create || c.execute != ""):
		return cli.Usagef("-c, -p and -x go with lock alone")
	case c.mode == modeAll && len(c.args) > 0:
		return cli.Usagef("-A takes no names, and %q was given", strings.Join(c.args, " "))
	case c.mode != modeAll && len(c.args) == 0 && verb == "list":
		c.mode = modeAll
	case c.mode != modeAll && len(c.args) == 0:
		return cli.Usagef("%s needs a backup, or -A for all", verb)
	}
	return nil
}

// glued reads -t48, as getopt does for an option whose value may be left out.
func glued(argv []string) []string {
	var out []string
	for i, a := range argv {
		if a == "--" {
			return append(out, argv[i:]...)
		}
		before, hours, ok := strings.Cut(a, "t")
		if !ok || hours == "" || strings.Trim(hours, "0123456789") != "" || !strings.HasPrefix(before, "-") || strings.HasPrefix(before, "--") {
			out = append(out, a)
			continue
		}
		if before != "-" {
			out = append(out, before)
		}
		out = append(out, "--stale="+hours)
	}
	return out
}
