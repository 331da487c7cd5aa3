package ctlbackups

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// verb is a command of the program, and what it does.
type verb struct {
	cmdline.Verb
	do func(*command) error
}

func verbs() []verb {
	return []verb{
		{cmdline.Verb{Name: "list", Args: "[-t[HOURS]] [[MODE] BACKUP...]",
			Text: "when each backup last changed, its size, whose it is and where it lies; without names, all of them"}, list},
		{cmdline.Verb{Name: "stat", Args: "[MODE] BACKUP...",
			Text: "what backups take: compressed, uncompressed, how much of that is still wanted, and when they last changed"}, stat},
		{cmdline.Verb{Name: "verify", Args: "[-q | --repair [-n]] [MODE] BACKUP...",
			Text: "read backups and compare every commit, checkpoint and message with what it should be; each problem is a line; with --repair, repair it"}, verifyBackups},
		{cmdline.Verb{Name: "set-aside", Args: "[MODE] BACKUP...",
			Text: "take backups that cannot be repaired out of their place: the next sync begins new ones, and the old ones stay readable"}, setAside},
		{cmdline.Verb{Name: "lock", Args: "[-c] [-p | -x COMMAND] [MODE] BACKUP",
			Text: "keep every backupd off one backup, while a command runs or until standard input ends"}, lock},
		{cmdline.Verb{Name: "reindex", Args: "[MODE] BACKUP...",
			Text: "make the local index anew from the bucket; a running backupd is asked to do it"}, reindex},
		{cmdline.Verb{Name: "move", Args: "[MODE] BACKUP... PARTITION",
			Text: "move backups with all their history to another partition; every backupd follows by itself"}, move},
		{cmdline.Verb{Name: "export", Args: "[MODE] BACKUP... LOCATION",
			Text: "copy backups, and nothing of others, into a repository of their own: a directory or a bucket; again: add what is new"}, export},
		{cmdline.Verb{Name: "import", Args: "FILE|LOCATION...",
			Text: "take over what export has made, or data files of Cyrus Backups, with their history, before the first sync of those users"}, importAll},
		{cmdline.Verb{Name: "passwd", Args: "USER | --delete USER | --list",
			Text: "set the password that a mail server logs in with, read from standard input; remove it; list who has one"}, passwd},
	}
}

// commandLine describes the command line; parsing it fills c in.
func (c *command) commandLine() *cmdline.Program {
	p := cmdline.New("ctl_backups", "[OPTION...] COMMAND [MODE] [BACKUP...]")
	for _, v := range verbs() {
		p.Verbs = append(p.Verbs, v.Verb)
	}
	p.Group("Modes, which say what the names are", func(f *pflag.FlagSet) {
		c.modes = map[mode]*bool{}
		for _, m := range allModes() {
			c.modes[m] = f.BoolP(m.long(), m.short(), false, m.text())
		}
	})
	p.Group("Options of commands", func(f *pflag.FlagSet) {
		f.IntVarP(&c.stale, "stale", "t", -1, "list: only backups without a change for `HOURS` (24, if none are given: -t, -t48, --stale=48)")
		f.Lookup("stale").NoOptDefVal = "24"
		f.BoolVarP(&c.quick, "quick", "q", false, "verify: only the newest checkpoint and commits, no messages")
		f.BoolVar(&c.repair, "repair", false, "verify: repair what is damaged, from other copies and by way of the next sync")
		f.BoolVarP(&c.dryRun, "dry-run", "n", false, "verify --repair: only say what would be done")
		f.BoolP("no-verify", "V", false, "list, stat: for scripts that know Cyrus's; these verify nothing")
		f.BoolVarP(&c.pause, "pause", "p", false, "lock: until standard input ends, which is what it does without -x")
		f.StringVarP(&c.execute, "execute", "x", "", "lock: while /bin/sh runs `COMMAND`")
		f.BoolVarP(&c.create, "create", "c", false, "lock: make the backup, which must not be there yet")
		f.BoolVarP(&c.wait, "wait-for-locks", "w", false, "wait for a lock that somebody else holds")
		f.BoolVar(&c.remove, "delete", false, "passwd: remove the user")
		f.BoolVar(&c.list, "list", false, "passwd: list the users")
	})
	p.Group("Output", func(f *pflag.FlagSet) {
		f.BoolVarP(&c.human, "human", "h", false, "sizes as 1.2 MB")
		f.BoolVarP(&c.json, "json", "j", false, "one JSON object for each backup")
		f.BoolVar(&c.ndjson, "ndjson", false, "the same, each in one line")
		f.CountVarP(&c.verbose, "verbose", "v", "say more")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(&c.config, "config", "C", imapconf.DefaultPath, "read `FILE` instead of the usual imapd.conf")
		f.BoolVarP(&c.stop, "stop-on-error", "S", false, "stop at the first backup that fails")
		p.About(f)
	})
	p.Exit = cli.Statuses()
	p.Examples = []string{
		"ctl_backups list -t48 -A       # who has not been backed up for two days",
		"ctl_backups stat -h anne       # what anne's backup takes",
		"ctl_backups verify -v -A       # read everything, and compare it",
		"ctl_backups verify --repair anne",
		`ctl_backups lock anne -x "rclone sync /var/spool/backup remote:copy"`,
		"ctl_backups import /var/spool/cyrus/backup",
		"ctl_backups move -P a cold     # everybody whose userid begins with a",
		"ctl_backups export anne /srv/for-anne",
		"ctl_backups set-aside anne     # begin a new backup of anne, and keep the old one",
		"ctl_backups reindex -A",
		"echo secret | ctl_backups passwd repl",
	}
	p.Arguments = c.propose
	return p
}

// propose completes an argument: a command, then what that takes.
func (c *command) propose(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		var words []string
		for _, v := range verbs() {
			words = append(words, cobra.CompletionWithDesc(v.Name, v.Text))
		}
		return cmdline.Words(words...)(cmd, args, begun)
	case args[0] == "import", args[0] == "export" && len(args) > 1:
		return nil, cobra.ShellCompDirectiveDefault
	case args[0] == "passwd":
		return nil, cobra.ShellCompDirectiveNoFileComp
	case args[0] == "move":
		return c.proposeToMove(cmd, args[1:], begun)
	}
	return c.proposeBackups(cmd, begun)
}

// proposeBackups completes a name by the mode.
func (c *command) proposeBackups(cmd *cobra.Command, begun string) ([]string, cobra.ShellCompDirective) {
	switch {
	case *c.modes[modePaths]:
		return cli.ProposeBackups(cmd.Context(), c.config, cli.ByPath, begun)
	case *c.modes[modeUsers] || !c.anyMode():
		return cli.ProposeBackups(cmd.Context(), c.config, cli.ByUser, begun)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// proposeToMove completes backups and, where one has been named or -A was given, the
// partitions they may go to.
func (c *command) proposeToMove(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if *c.modes[modeAll] {
		return cli.ProposePartitions(c.config, begun)
	}
	names, directive := c.proposeBackups(cmd, begun)
	if len(args) == 0 {
		return names, directive
	}
	parts, _ := cli.ProposePartitions(c.config, begun)
	return append(parts, names...), directive
}

func (c *command) anyMode() bool {
	for _, given := range c.modes {
		if *given {
			return true
		}
	}
	return false
}
