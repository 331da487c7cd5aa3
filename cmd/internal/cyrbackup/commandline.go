package cyrbackup

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/timespec"
)

// verb is a command and its function.
type verb struct {
	cmdline.Verb
	least, most int  // number of names
	loads       bool // loads the state of a moment: --at and --commit
	heads       bool // needs only the mailboxes of that state (history.Moment.Heads)
	do          func(*command) error
}

const many = 1 << 30

func verbs() []verb {
	v := func(name, args, text string) cmdline.Verb { return cmdline.Verb{Name: name, Args: args, Text: text} }
	return []verb{
		{v("list mailboxes", "", "uniqueid, date of the last message and name of each mailbox"), 0, 0, true, true, listMailboxes},
		{v("list messages", "", "the GUID of each message"), 0, 0, true, false, listMessages},
		{v("list chunks", "", "number, size and time of each commit; a commit holds one change from the mail server"), 0, 0, true, true, listChunks},
		{v("list all", "", "mailboxes, messages and chunks"), 0, 0, true, false, listAll},
		{v("show mailboxes", "NAME|UNIQUEID...", "the state of mailboxes and their messages, with the time for expunged messages"), 1, many, true, false, showMailboxes},
		{v("show messages", "GUID...", "the mailboxes that contain messages, and the headers of the messages"), 1, many, true, false, showMessages},
		{v("show chunks", "NUMBER...", "the time, connection and changes of commits"), 1, many, true, true, showChunks},
		{v("dump message", "GUID", "the message itself, byte for byte"), 1, 1, true, false, dumpMessage},
		{v("dump chunk", "NUMBER", "the content of a commit, as stored in the bucket"), 1, 1, true, true, dumpChunk},
		{v("log", "[--since TIME] [--until TIME] [MAILBOX]", "each change with its time and connection"), 0, 1, false, false, showLog},
		{v("diff", "--from TIME [--to TIME]", "the differences between two moments"), 0, 0, false, false, showDiff},
		{v("find", "CRITERION...", findText), 1, many, true, false, findMessages},
		{v("json mailboxes", "", "like list, for programs"), 0, 0, true, false, jsonMailboxes},
		{v("json messages", "", "like list, for programs"), 0, 0, true, false, jsonMessages},
		{v("json chunks", "", "like list, for programs"), 0, 0, true, true, jsonChunks},
		{v("json headers", "GUID...", "the header fields of messages"), 1, many, true, false, jsonHeaders},
		{v("json state", "", "everything in the backup except the messages, one object per line"), 0, 0, true, false, jsonState},
		{v("json bodies", "", "read every live message: its GUID, size and SHA-1 as read"), 0, 0, true, false, jsonBodies},
	}
}

const findText = "messages, including deleted ones, that match all criteria: WORD (in the subject, From, To, Cc or Bcc), subject:TEXT, from:TEXT, " +
	"to:TEXT (Cc and Bcc too), text:TEXT (like WORD), message-id:ID, filename:TEXT (of an attachment), has:attachment, " +
	"mailbox:NAME (% and * as in IMAP), before:TIME, since:TIME (when it was received), larger:SIZE, smaller:SIZE"

// lookup finds the command in the words after the backup's name. It returns the words after
// the command as names.
func lookup(words []string) (verb, []string, error) {
	for _, v := range verbs() {
		n := len(strings.Fields(v.Name))
		if len(words) < n || strings.Join(words[:n], " ") != v.Name {
			continue
		}
		names := words[n:]
		switch {
		case len(names) < v.least:
			return v, nil, cli.Usagef("%s needs a name", v.Name)
		case len(names) > v.most:
			return v, nil, cli.Usagef("%s takes no more than %d names", v.Name, v.most)
		}
		return v, names, nil
	}
	return verb{}, nil, cli.Usagef("%q is not a command", strings.Join(words[:min(2, len(words))], " "))
}

// given is the command line.
type given struct {
	config                     string
	user, mailbox, path, all   bool
	at, since, until, from, to string
	commit                     uint64
	verbose                    int
}

// commandLine describes the command line; parsing it fills g and c in.
func commandLine(g *given, c *command) *cmdline.Program {
	p := cmdline.New("cyr_backup", "[OPTION...] BACKUP COMMAND [NAME...]", "[OPTION...] -A find CRITERION...")
	for _, v := range verbs() {
		p.Verbs = append(p.Verbs, v.Verb)
	}
	p.Group("The meaning of BACKUP", func(f *pflag.FlagSet) {
		f.BoolVarP(&g.user, "userid", "u", false, "a userid; this is the default")
		f.BoolVarP(&g.mailbox, "mailbox", "m", false, "a mailbox: the backup that contains it")
		f.BoolVarP(&g.all, "all", "A", false, "find: search all backups; takes no BACKUP")
		f.BoolVarP(&g.path, "filename", "f", false, "a path in the bucket below backups/, such as user/anne")
	})
	p.Group("Which moment", func(f *pflag.FlagSet) {
		f.StringVar(&g.at, "at", "", "list, show, dump, json, find: the state at `TIME`")
		f.Uint64Var(&g.commit, "commit", 0, "the state after commit `N` (see log)")
		f.StringVar(&g.since, "since", "", "log: from `TIME` on")
		f.StringVar(&g.until, "until", "", "log: up to `TIME`")
		f.StringVar(&g.from, "from", "", "diff: the earlier `TIME`")
		f.StringVar(&g.to, "to", "", "diff: the later `TIME` (default: now)")
	})
	p.Group("Output", func(f *pflag.FlagSet) {
		f.IntVar(&c.max, "max", 0, "log, diff, find: stop after `N` lines")
		f.BoolVar(&c.json, "json", false, "log, diff, find: one JSON object per line")
		f.BoolVarP(&c.human, "human", "h", false, "sizes as 1.2 MiB")
		f.CountVarP(&g.verbose, "verbose", "v", "print more; list mailboxes: also names in the administrator's form; log: each message")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(&g.config, "config", "C", imapconf.DefaultPath, "read `FILE` as imapd.conf")
		p.About(f)
	})
	p.Notes = "TIME is one of " + strings.NewReplacer(`"yest`, "\n"+`"yest`, "; ", ";\n").Replace(timespec.Forms) + "\n"
	p.Exit = cli.Statuses()
	p.Examples = []string{
		"cyr_backup anne list mailboxes",
		"cyr_backup anne show mailboxes user/anne/Sent",
		"cyr_backup anne log --since yesterday user/anne",
		`cyr_backup anne diff --from "2026-11-20 14:05" --to "3h ago"`,
		"cyr_backup anne find from:bob subject:invoice since:2026-10-01 --max 10",
		"cyr_backup -A find message-id:20261120.4711@example.org",
		`cyr_backup anne --at "last tuesday 14:05" json mailboxes`,
		"cyr_backup anne dump message 67f117aa6c06fb91b94f331d2e7ec5a686ae2227 > m.eml",
	}
	p.Arguments = g.propose
	return p
}

// propose completes an argument: the backup, then the words of a command.
func (g *given) propose(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if g.all {
		return proposeVerb(args)
	}
	if len(args) > 0 {
		return proposeVerb(args[1:])
	}
	switch {
	case g.mailbox:
		return nil, cobra.ShellCompDirectiveNoFileComp
	case g.path:
		return cli.ProposeBackups(cmd.Context(), g.config, cli.ByPath, begun)
	}
	return cli.ProposeBackups(cmd.Context(), g.config, cli.ByUser, begun)
}

// proposeVerb completes the next word of a command, with a description of the last word.
func proposeVerb(words []string) ([]string, cobra.ShellCompDirective) {
	var out []string
	seen := map[string]bool{}
	for _, v := range verbs() {
		parts := strings.Fields(v.Name)
		n := len(words)
		if n >= len(parts) || strings.Join(parts[:n], " ") != strings.Join(words, " ") || seen[parts[n]] {
			continue
		}
		seen[parts[n]] = true
		word := parts[n]
		if n == len(parts)-1 {
			word = cobra.CompletionWithDesc(word, v.Text)
		}
		out = append(out, word)
	}
	if len(out) == 0 && len(words) == 1 && words[0] == "find" {
		for _, c := range criteria() {
			out = append(out, c+":")
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
