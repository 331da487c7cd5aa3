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

	"github.com/spf13/pflag"

	"backupd/cmd/internal/cli"
	"backupd/internal/version"
	"backupd/partitions"
	"backupd/partitions/history"
)

const usage = `usage: cyr_backup [-C file] [-v] [-u|-m|-f] backup command what [name...]
  list chunks | mailboxes | messages | all
  show chunks NUMBER... | mailboxes NAME|UNIQUEID... | messages GUID...
  dump chunk NUMBER | message GUID
  json chunks | mailboxes | messages | headers GUID... | state | bodies
A chunk is a commit: what one change of the mail server brought.
  -C file, --config  imapd.conf (default /etc/imapd.conf)
  -u, --userid       backup is a userid (the default)
  -m, --mailbox      backup is the one of this mailbox
  -f, --filename     backup is a path in the bucket below backups/, as user/anne
  -v, --verbose      say more
Examples:
  cyr_backup anne list mailboxes
  cyr_backup anne show mailboxes user/anne/Sent
  cyr_backup anne dump message 67f117aa6c06fb91b94f331d2e7ec5a686ae2227 > message.eml
`

func main() {
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	code := cli.Main("cyr_backup", usage, os.Stderr, func(ctx context.Context) error {
		err := run(ctx, os.Args[1:], out, os.Stderr)
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
	mem    *history.Mem
	out    io.Writer
	err    io.Writer
	names  []string
}

func run(ctx context.Context, argv []string, out, stderr io.Writer) error {
	f := pflag.NewFlagSet("cyr_backup", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	config := f.StringP("config", "C", "/etc/imapd.conf", "")
	f.CountP("verbose", "v", "")
	byUser := f.BoolP("userid", "u", false, "")
	byMailbox := f.BoolP("mailbox", "m", false, "")
	byPath := f.BoolP("filename", "f", false, "")
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
		_, err := fmt.Fprintln(out, "cyr_backup", version.Number())
		return err
	case f.NArg() < 3:
		return cli.Usagef("a backup, a command and what it is about are needed")
	}
	mode, err := modeOf(*byUser, *byMailbox, *byPath)
	if err != nil {
		return err
	}
	do, err := lookup(f.Arg(1), f.Arg(2), f.NArg()-3)
	if err != nil {
		return err
	}
	b, err := cli.Open(ctx, *config, "cyr_backup")
	if err != nil {
		return err
	}
	defer b.Close()
	c := &command{ctx: ctx, bucket: b, out: out, err: stderr, names: f.Args()[3:]}
	if c.found, err = b.Find(ctx, mode, f.Arg(0)); err != nil {
		return err
	}
	if c.mem, err = c.found.Load(ctx, history.Moment{}); err != nil {
		return err
	}
	defer c.mem.Close()
	return do(c)
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

// lookup is the function for a command and what it is about. names says how many
// names were given.
func lookup(verb, what string, names int) (func(*command) error, error) {
	type entry struct {
		least, most int // names
		do          func(*command) error
	}
	const many = 1 << 30
	table := map[string]entry{
		"list chunks":    {0, 0, listChunks},
		"list mailboxes": {0, 0, listMailboxes},
		"list messages":  {0, 0, listMessages},
		"list all":       {0, 0, listAll},
		"show chunks":    {1, many, showChunks},
		"show mailboxes": {1, many, showMailboxes},
		"show messages":  {1, many, showMessages},
		"dump chunk":     {1, 1, dumpChunk},
		"dump message":   {1, 1, dumpMessage},
		"json chunks":    {0, 0, jsonChunks},
		"json mailboxes": {0, 0, jsonMailboxes},
		"json messages":  {0, 0, jsonMessages},
		"json headers":   {1, many, jsonHeaders},
		"json state":     {0, 0, jsonState},
		"json bodies":    {0, 0, jsonBodies},
	}
	e, ok := table[verb+" "+what]
	switch {
	case !ok:
		return nil, cli.Usagef("%q is not a command", verb+" "+what)
	case names < e.least:
		return nil, cli.Usagef("%s %s needs a name", verb, what)
	case names > e.most:
		return nil, cli.Usagef("%s %s takes no more than %d names", verb, what, e.most)
	}
	return e.do, nil
}

// local formats a moment as Cyrus's tools do.
func local(sec int64) string { return timeOf(sec).Format("2006-01-02 15:04:05") }

func (c *command) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// isUniqueID: 24 letters and digits, or a UUID (backup/restore.c).
func isUniqueID(s string) bool {
	ok := strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
	return ok && (len(s) == 24 || len(s) == 36)
}
