package restore

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// given holds the options that need further parsing. All others are stored in options
// directly.
type given struct {
	*options
	user, mailbox, path  string
	input, to, acl       string
	atText, since, until string
	rateText             string
	maps                 []string
	allUsers             bool
	domain, prefix       string
	skip, only           bool
	delay                int
}

// noACL is the value of -A without a value, because pflag needs one.
const noACL = "\x00"

// commandLine describes the command line; parsing it fills g in.
func (g *given) commandLine() *cmdline.Program {
	p := cmdline.New("restore",
		"[OPTION...] SERVER [-u] BACKUP {-a | MAILBOX | UNIQUEID | GUID}...",
		"[OPTION...] --to WHERE BACKUP {-a | MAILBOX | UNIQUEID | GUID}...",
		"[OPTION...] {SERVER | --to WHERE} {-A | -D DOMAIN | -P PREFIX}")
	p.Group("What and from when", func(f *pflag.FlagSet) {
		f.StringVarP(&g.user, "userid", "u", "", "the backup of user `ID`; without -u, -m and -f, the word before the objects is the userid")
		f.StringVarP(&g.mailbox, "mailbox", "m", "", "the backup that contains the mailbox `NAME`")
		f.StringVarP(&g.path, "file", "f", "", "the backup at `PATH` in the bucket below backups/, such as user/anne")
		f.BoolVarP(&g.selection.All, "all-mailboxes", "a", false, "everything that was live: mailboxes, subscriptions, seen state, scripts, quota, annotations")
		f.BoolVarP(&g.selection.Recursive, "recursive", "r", false, "include the mailboxes below the named ones")
		f.StringVarP(&g.input, "input-file", "F", "", "read objects from `FILE`, one per line (- is standard input; # begins a comment)")
		f.StringVar(&g.atText, "at", "", `as of `+"`TIME`"+`: "2026-11-20 14:05", "yesterday 14:05", "3h ago", RFC 3339`)
		f.Uint64Var(&g.moment.Number, "commit", 0, "as of chunk `N` (cyr_backup BACKUP list chunks)")
		f.IntVar(&g.life, "life", 0, "as of the end of life `N` of a user whose name was reused later, including mail deleted along with the account")
		f.BoolVar(&g.fromLog, "from-log", false, "read the whole log and no checkpoint: slower, for a damaged checkpoint")
		f.StringVar(&g.since, "since", "", "only messages delivered or deleted from `TIME` on; with -x: deleted")
		f.StringVar(&g.until, "until", "", "only messages delivered or deleted up to `TIME`; with -x: deleted")
		f.BoolVarP(&g.skip, "skip-expunged", "X", false, "skip messages and mailboxes that had been expunged or deleted")
		f.BoolVarP(&g.only, "only-expunged", "x", false, "restore only those")
		f.BoolVar(&g.keepDeleted, "keep-deleted", false, "keep \\Deleted on messages that had been expunged; without it, they lose the flag")
	})
	p.Group("All users", func(f *pflag.FlagSet) {
		f.BoolVar(&g.allUsers, "all-users", false, "every backup, each as with -a; -A alone is the same if no BACKUP is named")
		f.StringVar(&g.domain, "domain", "", "the backups of all users of `DOMAIN`; also -D DOMAIN")
		f.StringVar(&g.prefix, "prefix", "", "the backups of all users whose userids begin with `PREFIX`; also -P PREFIX")
		f.StringVar(&g.resume, "resume", "", "record finished users in `FILE`, and skip them when the restore is run again")
		f.BoolVarP(&g.json, "json", "j", false, "report on users as lines of JSON")
	})
	p.Group("Where to", func(f *pflag.FlagSet) {
		f.StringVar(&g.to, "to", "", "to `WHERE`: maildir:DIR, mbox:FILE, eml:DIR, tar:FILE (compressed if it ends in .zst), "+
			"imap://USER@HOST[:PORT]/, imaps://..., sync://HOST[:PORT]; in place of SERVER")
		f.StringVar(&g.passwordFile, "password-file", "", "read an IMAP account's password from `FILE`; without it, from RESTORE_IMAP_PASSWORD in the environment")
		f.StringVar(&g.journal, "journal", "", "record in `DIR` the messages sent to an IMAP account; without it, in $XDG_STATE_HOME/backupd or ~/.local/state/backupd")
		f.StringVarP(&g.acl, "override-acl", "A", "", "new mailboxes get this `ACL`, such as -A'anne lrswipkxtecda anyone lrs'; without a value, the server's default")
		f.Lookup("override-acl").NoOptDefVal = noACL
		f.BoolVarP(&g.selection.KeepDeletedPrefix, "keep-deletedprefix", "D", false, "restore deleted mailboxes below DELETED")
		f.BoolVarP(&g.local, "local-only", "L", false, "do not report new mailboxes to a Cyrus murder")
		f.StringVarP(&g.selection.Into, "dest-mailbox", "M", "", "restore everything into the mailbox `NAME`")
		f.StringArrayVar(&g.maps, "map", nil, "rename the mailbox OLD, and all below it, to NEW: `OLD=NEW`; can be repeated")
		f.StringVarP(&g.partition, "dest-partition", "P", "", "create new mailboxes on `PARTITION`")
		f.BoolVarP(&g.keepUIDs, "keep-uidvalidity", "U", false, "keep uniqueid, uidvalidity, uids and modseqs if the server does not have the mailbox, or has only the beginning of it")
	})
	p.Group("How", func(f *pflag.FlagSet) {
		f.BoolVarP(&g.dryRun, "dry-run", "n", false, "ask the server and print what would be changed; change nothing")
		f.BoolVar(&g.flagsOnly, "flags-only", false, "only reset the flags of existing messages; restore nothing")
		f.BoolVar(&g.lossy, "lossy", false, "do not count as a problem what the files cannot hold, such as more than 26 keywords in a folder of a Maildir")
		f.BoolVar(&g.newestFirst, "newest-first", false, "the newest messages of each mailbox first; with all users, first the mail of a week, then of a month, a year, all")
		f.IntVar(&g.parallel, "parallel", 1, "use `N` connections; each mailbox, or with all users each user, uses one connection")
		f.StringVar(&g.rateText, "rate", "", "at most `BYTES` of mail per second, such as 10MB")
		f.BoolVarP(&g.compress, "require-compression", "z", false, "do not restore without compression")
		f.StringVar(&g.progress, "progress", "auto", "show progress: `HOW` is auto (a bar on a terminal), bar, json (a line per second on standard error) or none")
		f.CountVarP(&g.verbose, "verbose", "v", "print each mailbox; twice: each message")
		f.IntVarP(&g.delay, "delay", "w", 0, "wait `SECONDS` before the start")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(&g.config, "config", "C", imapconf.DefaultPath, "read `FILE` as imapd.conf")
		p.About(f)
	})
	p.Notes = notes
	p.Exit = cli.Statuses()
	p.Examples = []string{
		"restore imap1.example.com anne user/anne/Sent",
		`restore -U --at "yesterday 14:05" imap1.example.com -u anne -a`,
		`restore -n -v --since "2h ago" imap1.example.com anne -a`,
		"restore --to maildir:/tmp/anne anne -a",
	}
	p.Arguments = g.propose
	p.Values = map[string]cobra.CompletionFunc{
		"to":       proposeDestination,
		"progress": cmdline.Words("auto", "bar", "json", "none"),
		"userid":   g.backups(cli.ByUser),
		"file":     g.backups(cli.ByPath),
	}
	return p
}

const notes = `SERVER is host, host:port, host:port/tls or the path of a socket: the csync port
of a Cyrus server. restore_authname and restore_password of imapd.conf (else
sync_authname, sync_password) log in there.

Naming a mailbox restores its live messages, and its expunged messages that the
backup still holds, as live messages. With -a, -U, --at or --commit it restores
the messages that were live then. A message named by its GUID is restored whether
it was expunged or not. If no mailbox has a name any more, the name means the
mailbox that was deleted last. Names have the administrator's form
(user/anne/Sent) or the internal form (user.anne.Sent). Letters such as in
user/anne/Entwürfe need no encoding.

A mailbox that is restored to another user gets the ACL of its nearest parent
there, or the server's default; -A overrides this.

BACKUP is a userid. anne:bob restores anne's mail, subscriptions, scripts and all
else to bob, under bob's access rights.

imap:// means STARTTLS; ?tls=no at the end turns it off, ?authuser=ADMIN logs in
as ADMIN. maildir is Maildir++ (.Archive.2023 beside cur); mbox is a directory
of mboxrd files if there is more than one mailbox; eml and tar have
Archive/2023/UID-GUID.eml, with messages.ndjson for the flags. folders.ndjson has
the mailboxes' original names; docs/restore.md explains the file names.

A restore only adds. It neither overwrites nor duplicates messages: it skips a
message if the mailbox has one with the same bytes (an IMAP server may have
changed them: docs/restore.md). An interrupted restore can be run again.
`

// backups completes names of backups.
func (g *given) backups(m cli.Mode) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return cli.ProposeBackups(cmd.Context(), g.config, m, begun)
	}
}

// propose completes an argument if it is the backup.
func (g *given) propose(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	before := 1 // the server
	if g.to != "" {
		before = 0
	}
	if len(args) == before && g.user+g.mailbox+g.path == "" {
		return g.backups(cli.ByUser)(cmd, args, begun)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// proposeDestination completes the kind of destination, then a file.
func proposeDestination(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(begun, ":") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return []string{"maildir:", "mbox:", "eml:", "tar:", "imap://", "imaps://", "sync://"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
