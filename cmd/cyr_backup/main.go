// Command cyr_backup looks into one backup. It reads the bucket, not the server's
// index: it runs wherever the bucket's keys are.
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
	"backupd/internal/when"
	"backupd/partitions"
	"backupd/partitions/history"
)

const usage = `usage: cyr_backup [options] backup command
  list chunks | mailboxes | messages | all
  show chunks NUMBER... | mailboxes NAME|UNIQUEID... | messages GUID...
  dump chunk NUMBER | message GUID
  json chunks | mailboxes | messages | headers GUID... | state | bodies
  log [--since TIME] [--until TIME] [mailbox]   what changed when, and by which connection
  diff --from TIME [--to TIME]                  what is different between two moments
  find CRITERION...                             messages by their headers, expunged ones too
A chunk is a commit: what one change of the mail server brought.
A criterion is subject:TEXT, from:TEXT, to:TEXT (Cc and Bcc too), mailbox:NAME (% and * as in
IMAP), before:TIME, since:TIME (when it was received), larger:SIZE or smaller:SIZE. All must hold.
A TIME is ` + when.Forms + `.
  -C file, --config  imapd.conf (default /etc/imapd.conf)
  -u, --userid       backup is a userid (the default)
  -m, --mailbox      backup is the one of this mailbox
  -f, --filename     backup is a path in the bucket below backups/, as user/anne
      --at TIME      list, show, dump, json, find: as it was then
      --commit N     the same, after commit N (see log)
      --max N        log, diff, find: stop after so many lines
      --json         log, diff, find: one JSON object a line
  -h, --human        sizes as 1.2 MB
  -v, --verbose      log: each message; say more
      --help
Examples:
  cyr_backup anne list mailboxes
  cyr_backup anne show mailboxes user/anne/Sent
  cyr_backup anne log --since yesterday user/anne
  cyr_backup anne diff --from "2026-11-20 14:05" --to "3h ago"
  cyr_backup anne find from:bob subject:invoice since:2026-10-01 --max 10
  cyr_backup anne --at "last tuesday 14:05" json mailboxes
  cyr_backup anne dump message 67f117aa6c06fb91b94f331d2e7ec5a686ae2227 > message.eml
`

func main() {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	code := cli.Main("cyr_backup", usage, os.Stderr, func(ctx context.Context) error {
		err := run(ctx, cli.Open, os.Args[1:], out, os.Stderr)
		if flushed := out.Flush(); err == nil {
			err = flushed
		}
		return err
	})
	os.Exit(code)
}

// command is one look into a backup.
type command struct {
	ctx    context.Context
	bucket *cli.Bucket
	found  *partitions.Found
	mem    *history.Mem // nil for commands that load what they need
	out    io.Writer
	err    io.Writer
	names  []string

	at           history.Moment
	since, until time.Time // log; zero = open
	from, to     time.Time // diff; to zero = now
	now          time.Time
	max          int // lines; 0 = all
	json         bool
	human        bool
	verbose      bool
}

// given is the command line.
type given struct {
	config                     string
	user, mailbox, path        bool
	at, since, until, from, to string
	commit                     uint64
	verbose                    int
	help, version              bool
}

func (g *given) flags(c *command) *pflag.FlagSet {
	f := pflag.NewFlagSet("cyr_backup", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVarP(&g.config, "config", "C", "/etc/imapd.conf", "")
	f.CountVarP(&g.verbose, "verbose", "v", "")
	f.BoolVarP(&g.user, "userid", "u", false, "")
	f.BoolVarP(&g.mailbox, "mailbox", "m", false, "")
	f.BoolVarP(&g.path, "filename", "f", false, "")
	f.StringVar(&g.at, "at", "", "")
	f.Uint64Var(&g.commit, "commit", 0, "")
	f.StringVar(&g.since, "since", "", "")
	f.StringVar(&g.until, "until", "", "")
	f.StringVar(&g.from, "from", "", "")
	f.StringVar(&g.to, "to", "", "")
	f.IntVar(&c.max, "max", 0, "")
	f.BoolVar(&c.json, "json", false, "")
	f.BoolVarP(&c.human, "human", "h", false, "")
	f.BoolVar(&g.help, "help", false, "")
	f.BoolVar(&g.version, "version", false, "")
	return f
}

func run(ctx context.Context, open cli.Opener, argv []string, out, stderr io.Writer) error {
	c := &command{ctx: ctx, out: out, err: stderr, now: time.Now()}
	var g given
	f := g.flags(c)
	if err := f.Parse(argv); err != nil {
		return cli.Usagef("%v", err)
	}
	switch {
	case g.help:
		_, err := io.WriteString(out, usage)
		return err
	case g.version:
		_, err := fmt.Fprintln(out, "cyr_backup", version.Number())
		return err
	case f.NArg() < 2:
		return cli.Usagef("a backup and a command are needed")
	}
	c.verbose = g.verbose > 0
	mode, err := modeOf(g.user, g.mailbox, g.path)
	if err != nil {
		return err
	}
	v, names, err := lookup(f.Args()[1:])
	if err != nil {
		return err
	}
	c.names = names
	if err := c.options(v, f, &g); err != nil {
		return err
	}
	if c.bucket, err = open(ctx, g.config, "cyr_backup"); err != nil {
		return err
	}
	defer c.bucket.Close()
	if c.found, err = c.bucket.Find(ctx, mode, f.Arg(0)); err != nil {
		return err
	}
	if v.loads {
		if c.mem, err = c.found.Load(ctx, c.at); err != nil {
			return c.explain(err)
		}
		defer c.mem.Close()
	}
	return v.do(c)
}

func modeOf(user, mailbox, path bool) (cli.Mode, error) {
	switch {
	case user && mailbox || user && path || mailbox && path:
		return 0, cli.Usagef("only one of -u, -m and -f can be given")
	case mailbox:
		return cli.ByMailbox, nil
	case path:
		return cli.ByPath, nil
	}
	return cli.ByUser, nil
}

// verb is a command.
type verb struct {
	name        string
	least, most int  // names that it takes
	loads       bool // it looks at the state of one moment: --at and --commit
	do          func(*command) error
}

const many = 1 << 30

// lookup finds the command in the words after the backup's name; the names are what follows it.
func lookup(words []string) (verb, []string, error) {
	table := map[string]verb{
		"list chunks":    {loads: true, do: listChunks},
		"list mailboxes": {loads: true, do: listMailboxes},
		"list messages":  {loads: true, do: listMessages},
		"list all":       {loads: true, do: listAll},
		"show chunks":    {least: 1, most: many, loads: true, do: showChunks},
		"show mailboxes": {least: 1, most: many, loads: true, do: showMailboxes},
		"show messages":  {least: 1, most: many, loads: true, do: showMessages},
		"dump chunk":     {least: 1, most: 1, loads: true, do: dumpChunk},
		"dump message":   {least: 1, most: 1, loads: true, do: dumpMessage},
		"json chunks":    {loads: true, do: jsonChunks},
		"json mailboxes": {loads: true, do: jsonMailboxes},
		"json messages":  {loads: true, do: jsonMessages},
		"json headers":   {least: 1, most: many, loads: true, do: jsonHeaders},
		"json state":     {loads: true, do: jsonState},
		"json bodies":    {loads: true, do: jsonBodies},
		"log":            {most: 1, do: showLog},
		"diff":           {do: showDiff},
		"find":           {least: 1, most: many, loads: true, do: findMessages},
	}
	for n := 1; n <= min(2, len(words)); n++ {
		name, names := strings.Join(words[:n], " "), words[n:]
		v, ok := table[name]
		v.name = name
		switch {
		case !ok:
			continue
		case len(names) < v.least:
			return v, nil, cli.Usagef("%s needs a name", name)
		case len(names) > v.most:
			return v, nil, cli.Usagef("%s takes no more than %d names", name, v.most)
		}
		return v, names, nil
	}
	return verb{}, nil, cli.Usagef("%q is not a command", strings.Join(words[:min(2, len(words))], " "))
}

// local formats a moment as Cyrus's tools do.
func local(sec int64) string { return timeOf(sec).Format("2006-01-02 15:04:05") }

func (c *command) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// isUniqueID: 24 letters and digits, or a UUID (backup/restore.c).
func isUniqueID(s string) bool {
	ok := strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
	return ok && (len(s) == 24 || len(s) == 36)
}
