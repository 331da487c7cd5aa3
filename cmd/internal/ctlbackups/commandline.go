package ctlbackups

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// verb is a command of the program, and what it does.
type verb struct {
	cmdline.Verb
	do func(*command) error
}

func verbs() []verb {
	return []verb{
		{cmdline.Verb{Name: "list", Args: "[-t[HOURS]] [--holds] [--from-bucket] [[MODE] BACKUP...]",
			Text: "for each backup the time of its last change, the size of its log and checkpoints (stat adds the messages in packs), its user and its place; without names, all backups"}, list},
		{cmdline.Verb{Name: "stat", Args: "[--from-bucket] [--shared] [MODE] BACKUP...",
			Text: "the size of backups: compressed, uncompressed, the part that is still in use, and the time of the last change; with -h also the parts of the size, and how far back each backup can be restored"}, stat},
		{cmdline.Verb{Name: "status", Args: "[--max-age TIME] [PARTITION...]",
			Text: "whether all is well, for people and for monitoring: the daemon, partitions, mail servers, backups that lack something, the last verify and compact, and holds, with what to do; the exit status is 0 = ok, 1 = warning, 2 = critical"}, status},
		{cmdline.Verb{Name: "cost", Args: "[--backups]",
			Text: "what the objects of each partition add up to, by kind, and the price of a month"}, cost},
		{cmdline.Verb{Name: "verify", Args: "[-q | --repair [-n]] [MODE] BACKUP... | --read AMOUNT | --seals [FILE|LOCATION]",
			Text: "read backups and check every commit, checkpoint and message; print a line for each problem; with --repair, repair it; with --read, a part of all backups, and the next part with the next run; with --seals, report backups that somebody has rewritten or removed since the last signed list of seal, or since the one in a file, and compare the lists with their copy at a location"}, verifyBackups},
		{cmdline.Verb{Name: "seal", Args: "-A [--to LOCATION [--new-copy]] [--accept LIST] [--syslog] | --init-key",
			Text: "write a signed list of the newest commit of every backup into each partition, for verify --seals and minisign(1), and report backups that somebody has rewritten or removed since the list before; to be run every night, best on a host without the keys of the daemon"}, seal},
		{cmdline.Verb{Name: "drill", Args: "[--users N | --share P] [--scratch DIR | --to SERVER] [[MODE] BACKUP...]",
			Text: "restore the newest state of backups into a scratch directory, or as the user backup-drill into a Cyrus server; compare the result with the backup and with the checksums of the mail server, print how long the restore took, and remove it; without names, 3 backups drawn at random"}, drillBackups},
		{cmdline.Verb{Name: "compact", Args: "[-n] [--for TIME] [--limit-requests N] [--accept-missing PARTITION:PATH] [MODE] BACKUP...",
			Text: "merge old changes into few objects, remove what backup_retention no longer keeps and, with -A, packs that no backup needs any more; safe beside a running backupd, and to be run every night"}, compact},
		{cmdline.Verb{Name: "set-aside", Args: "[MODE] BACKUP...",
			Text: "move backups that cannot be repaired out of the way: the next sync starts new ones, and the old ones stay readable"}, setAside},
		{cmdline.Verb{Name: "hold", Args: "[--reason TEXT] [--until TIME] [-w] [MODE] BACKUP...",
			Text: "from now on, nothing is removed from these backups, on no host; list and stat show it"}, hold},
		{cmdline.Verb{Name: "release", Args: "[--reason TEXT | --tripwire | --yes] [MODE] BACKUP...",
			Text: "end holds of backups and print them: those with this reason, those of the tripwire, or all; with -A, -D and -P, all only with --yes"}, release},
		{cmdline.Verb{Name: "erase", Args: "[-n] [--before TIME [--cancel] | --message GUID... [--cancel]] [--yes] [--wait] [-w] --reason TEXT [MODE] BACKUP... | --list",
			Text: "remove backups with all their copies in all partitions, now, or only their history before a time, or single messages; compact -A, or --wait, removes their bodies from packs two hours later (fourteen with --before or --message); a record of the erasure remains"}, erase},
		{cmdline.Verb{Name: "forget-server", Args: "[-n] MAILSERVER...",
			Text: "mail servers that are gone for good: status shows them no longer, and their refused users neither; their backups stay; a name as status prints it, or its address alone"}, forgetServers},
		{cmdline.Verb{Name: "lock", Args: "[-c] [-p | -x COMMAND] [MODE] BACKUP",
			Text: "lock one backup against every backupd while a command runs, or until standard input ends"}, lock},
		{cmdline.Verb{Name: "reindex", Args: "[MODE] BACKUP...",
			Text: "rebuild the local index from the bucket; a running backupd does it if there is one"}, reindex},
		{cmdline.Verb{Name: "move", Args: "[MODE] BACKUP... PARTITION",
			Text: "move backups with all their history to another partition; every backupd finds them there by itself"}, move},
		{cmdline.Verb{Name: "export", Args: "[MODE] BACKUP... LOCATION",
			Text: "copy only these backups into a separate repository, a directory or a bucket; run again, it adds new changes"}, export},
		{cmdline.Verb{Name: "import", Args: "FILE|LOCATION...",
			Text: "import repositories made by export, or data files of Cyrus Backups, with their history, before the first sync of those users"}, importAll},
		{cmdline.Verb{Name: "passwd", Args: "USER | --delete USER | --list | --import FILE [-n] [--replace] [--realm REALM] [USER...]",
			Text: "set the password of a mail server, read from standard input; delete a user; list the users; import passwords from a database of Cyrus SASL (sasldb2)"}, passwd},
		{cmdline.Verb{Name: "doctor", Args: "[--client]",
			Text: "check this host before the first backup: imapd.conf, cyrus.conf, directories, keys, certificates and stores, as the daemon sees them; print what is wrong, where, and the command or setting that corrects it; with --client, print the lines that the mail host needs"}, examine},
		{cmdline.Verb{Name: "debug", Args: "profile KIND [--for TIME]",
			Text: "for developers: write a profile of the running backupd to standard output: cpu, heap, allocs, block or mutex for go tool pprof, trace for go tool trace, or goroutine as text; cpu, block, mutex and trace watch it for 30s, or the TIME of --for, at most 10m"}, debug},
	}
}

// commandLine describes the command line; parsing it fills c in.
func (c *command) commandLine() *cmdline.Program {
	p := cmdline.New("ctl_backups", "[OPTION...] COMMAND [MODE] [BACKUP...]")
	for _, v := range verbs() {
		p.Verbs = append(p.Verbs, v.Verb)
	}
	p.Group("Modes (the meaning of the names)", func(f *pflag.FlagSet) {
		c.modes = map[mode]*bool{}
		for _, m := range allModes() {
			c.modes[m] = f.BoolP(m.long(), m.short(), false, m.text())
		}
	})
	p.Group("Options of commands", func(f *pflag.FlagSet) {
		f.IntVarP(&c.stale, "stale", "t", -1, "list: only backups that may be out of date, because their mail server was not in contact for `HOURS`, or was refused; 24 if no number follows: -t, -t48, --stale=48")
		f.Lookup("stale").NoOptDefVal = "24"
		f.BoolVar(&c.fromBucket, "from-bucket", false, "list, stat: read the bucket, and do not ask a running backupd")
		f.BoolVar(&c.shared, "shared", false, "stat: also the part of the bodies that other backups of the partition use, too; it reads those backups, and needs a compact -A on this host")
		f.BoolVar(&c.backups, "backups", false, "cost: a line for each backup, too, with what it does not share with others")
		f.BoolVarP(&c.quick, "quick", "q", false, "verify: check only the newest checkpoint and commits, no messages")
		f.Var(&c.read, "read", "verify: of each partition, only an `AMOUNT` of those backups that were verified least recently: 5% of their number, or until 10G of messages were read")
		f.BoolVar(&c.seals, "seals", false, "verify: all backups, only against the signed lists of seal")
		f.BoolVar(&c.initKey, "init-key", false, "seal: make a key pair: the secret key in the file of backup_seal_key, the public key on standard output")
		f.BoolVar(&c.newCopy, "new-copy", false, "seal --to: the location has no list yet, although the partitions have some")
		f.Uint64Var(&c.accept, "accept", 0, "seal: you have looked at what the list with this `NUMBER` and those before have found; seal and verify --seals report it no longer, and compare with the state in that list")
		f.BoolVar(&c.syslog, "syslog", false, "seal: write number, hash and signature of each list to syslog, too")
		f.BoolVar(&c.repair, "repair", false, "verify: repair the damage from other copies and through the next sync")
		f.BoolVarP(&c.dryRun, "dry-run", "n", false, "verify --repair, compact, erase, forget-server, passwd --import: only print what would be done")
		f.BoolP("force", "F", false, "compact: no effect; accepted because Cyrus's ctl_backups has it")
		f.BoolP("no-verify", "V", false, "list, stat: no effect; accepted because Cyrus's ctl_backups has it")
		f.BoolVarP(&c.pause, "pause", "p", false, "lock: until standard input ends; the default without -x")
		f.StringVarP(&c.execute, "execute", "x", "", "lock: while /bin/sh runs `COMMAND`")
		f.BoolVarP(&c.create, "create", "c", false, "lock: create the backup, which must not exist yet")
		f.BoolVarP(&c.wait, "wait-for-locks", "w", false, "wait for a lock that another process holds; hold: for compaction, for more than three minutes")
		f.BoolVar(&c.client, "client", false, "doctor: check nothing; print the lines for imapd.conf and cyrus.conf of the mail host")
		f.StringVar(&c.cyrusConf, "cyrus-conf", "/etc/cyrus.conf", "doctor: read `FILE` as cyrus.conf")
		f.BoolVar(&c.holds, "holds", false, "list: only backups on hold")
		f.StringVar(&c.reason, "reason", "", "hold, erase: why, as `TEXT` for people; release: only the holds that were placed with this reason")
		f.BoolVar(&c.tripwire, "tripwire", false, "release: only the holds that the tripwire has placed")
		f.StringVar(&c.until, "until", "", "hold: the `TIME` when the hold ends by itself: 30d, \"in 6 months\", 2027-12-31, \"2027-12-31 14:05\" or 2027-12-31T14:05:00Z; without it, only release ends it")
		f.BoolVar(&c.remove, "delete", false, "passwd: delete the user")
		f.BoolVar(&c.list, "list", false, "passwd: list the users; erase: list all erasures")
		f.StringVar(&c.source, "import", "", "passwd: set the passwords that `FILE` has for users whom admins names: /etc/sasldb2, or its dump by db_dump, mdb_dump or gdbm_dump; - is a dump on standard input; prints a line for each user")
		f.BoolVar(&c.replace, "replace", false, "passwd --import: also for users who have another password here, which they keep otherwise")
		f.StringVar(&c.realm, "realm", "", "passwd --import: users of this `REALM` log in by their name alone, others as USER@REALM; servername of imapd.conf without it")
		f.BoolVar(&c.yes, "yes", false, "erase: do not ask; release with -A, -D or -P: every hold, whatever its reason")
		f.StringVar(&c.before, "before", "", "erase: only the history before this `TIME`: every earlier moment, and what the user had deleted or changed before it; mail that the user still has stays, also old mail")
		f.StringArrayVar(&c.messages, "message", nil, "erase: only the message with this `GUID`, from every moment that the backup can restore; may be given more than once")
		f.BoolVar(&c.cancel, "cancel", false, "erase --before, --message: end an erasure that cannot be completed, because a backup with another id has the name, because its list of packs is lost, or because the backup is damaged; bodies may be left")
		f.BoolVar(&c.waitErased, "wait", false, "erase: wait until the bodies can be removed, two hours (fourteen with --before or --message), and remove them")
		f.IntVar(&c.rate, "limit-requests", 0, "compact: make at most `N` requests per second to each partition")
		f.StringArrayVar(&c.acceptMissing, "accept-missing", nil, "compact -A: a backup that the last run has found is lost: its `PARTITION:PATH`, for example default:user/anne; remove packs although it is missing; may be given more than once")
		f.IntVar(&c.users, "users", 0, "drill: only `N` of the backups, drawn at random")
		f.Var(&c.share, "share", "drill: only a `SHARE` of the backups, drawn at random, but at least one: 5%")
		f.StringVar(&c.scratch, "scratch", "", "drill: restore below `DIR`, which needs room for the largest backup; $TMPDIR or /tmp without it")
		f.StringVar(&c.to, "to", "", "drill: restore into the Cyrus server at `PLACE`, a test server: host, host:port, host:port/tls or the path of a socket, as for restore, with the same login; seal: copy the lists to this directory or bucket, which nobody can change who can write to the partitions")
		f.Var(&c.age, "max-age", "status: it is critical if a mail server was not in contact, or a user was refused, for more than this `TIME`: 2h, 1d; 24h without it")
		f.Var((*length)(&c.length), "for", "compact: begin with no further backup after this `TIME`: 30m, 4h, 1d; without it, all backups")
	})
	p.Group("Output", func(f *pflag.FlagSet) {
		f.BoolVarP(&c.human, "human", "h", false, "for people: sizes as 1.2 MiB; list and stat print a table with titles and totals, as on a terminal")
		f.BoolVarP(&c.json, "json", "j", false, "one JSON object for each backup; passwd --list and --import: for each user")
		f.BoolVar(&c.ndjson, "ndjson", false, "the same, one object per line; cost and compact: also an object for each partition")
		f.CountVarP(&c.verbose, "verbose", "v", "print more; compact of many: a line for each backup")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(&c.config, "config", "C", imapconf.DefaultPath, "read `FILE` as imapd.conf")
		f.BoolVarP(&c.stop, "stop-on-error", "S", false, "stop at the first backup that fails")
		p.About(f)
	})
	p.Exit = statuses()
	p.Examples = []string{
		"ctl_backups list -t48 -A       # whose mail server has not been in contact for two days",
		"ctl_backups status             # is all well?",
		"ctl_backups stat -h anne       # the size of anne's backup",
		"ctl_backups stat -h --shared anne  # the bodies that an erasure would leave",
		"ctl_backups cost -h            # bytes, requests and price of each partition",
		"ctl_backups verify -v -A       # read and check everything",
		"ctl_backups verify --repair anne",
		"ctl_backups seal -A --to /srv/elsewhere/lists",
		"ctl_backups verify --seals /srv/elsewhere/lists  # was the bucket tampered with?",
		`ctl_backups lock anne -x "rclone sync /var/spool/backup remote:copy"`,
		"ctl_backups import /var/spool/cyrus/backup",
		"ctl_backups move -P a cold     # all users whose userid begins with a",
		"ctl_backups export anne /srv/for-anne",
		"ctl_backups set-aside anne     # start a new backup of anne, and keep the old one",
		`ctl_backups hold anne --reason "case 4711" --until 2027-12-31`,
		"ctl_backups list --holds       # which backups are on hold, and why",
		`ctl_backups erase anne --reason "request of 2027-03-01"`,
		`ctl_backups erase anne --before 2027-01-01 --reason "request of 2027-03-01"`,
		`ctl_backups erase anne --message 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 --reason "sent by mistake"`,
		"ctl_backups drill --to imap-test.example.com",
		"ctl_backups erase --list       # who was erased, when and why",
		`ctl_backups forget-server "repl [192.0.2.7]"`,
		"ctl_backups reindex -A",
		"ctl_backups compact -A --for 4h",
		"ctl_backups doctor             # as root: is this host set up well?",
		"ctl_backups debug profile cpu --for 30s > cpu.pprof",
		"echo secret | ctl_backups passwd repl",
		"ctl_backups passwd --import /etc/sasldb2",
	}
	p.Arguments = c.propose
	return p
}

// statuses describes the exit statuses: status and doctor have their own for a result, as monitoring
// expects them.
func statuses() []cmdline.Status {
	return append(cli.Statuses(),
		cmdline.Status{Code: cli.ExitWarning, Text: "doctor, status: at least one warning, and nothing worse"},
		cmdline.Status{Code: cli.ExitCritical, Text: "doctor: at least one error; status: something is critical"})
}

// propose completes an argument: a command, then its arguments.
func (c *command) propose(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		var words []string
		for _, v := range verbs() {
			words = append(words, cobra.CompletionWithDesc(v.Name, v.Text))
		}
		return cmdline.Words(words...)(cmd, args, begun)
	case args[0] == "import", args[0] == "export" && len(args) > 1, args[0] == "verify" && c.seals:
		return nil, cobra.ShellCompDirectiveDefault
	case args[0] == "debug" && len(args) == 1:
		return cmdline.Words("profile")(cmd, args[1:], begun)
	case args[0] == "debug":
		return cmdline.Words(control.ProfileKinds()...)(cmd, args[2:], begun)
	case args[0] == "passwd", args[0] == "cost", args[0] == "doctor", args[0] == "forget-server", args[0] == "seal":
		return nil, cobra.ShellCompDirectiveNoFileComp
	case args[0] == "status":
		return cli.ProposePartitions(c.config, begun)
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

// proposeToMove completes backups and, after the first backup or -A, also the destination
// partitions.
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
