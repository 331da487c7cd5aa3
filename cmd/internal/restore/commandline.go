package restore

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// given is the part of the command line that says something only after it has been
// looked at; the rest goes into options as it is.
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

// noACL stands for -A without a value: pflag wants something there.
const noACL = "\x00"

// commandLine describes the command line; parsing it fills g in.
func (g *given) commandLine() *cmdline.Program {
	p := cmdline.New("restore",
		"[OPTION...] SERVER [-u] BACKUP {-a | MAILBOX | UNIQUEID | GUID}...",
		"[OPTION...] --to WHERE BACKUP {-a | MAILBOX | UNIQUEID | GUID}...",
		"[OPTION...] {SERVER | --to WHERE} {-A | -D DOMAIN | -P PREFIX}")
	p.Group("What and from when", func(f *pflag.FlagSet) {
		f.StringVarP(&g.user, "userid", "u", "", "the backup of this user, `ID`, which is what the word before the objects is without -m and -f")
		f.StringVarP(&g.mailbox, "mailbox", "m", "", "the backup that the mailbox `NAME` is in")
		f.StringVarP(&g.path, "file", "f", "", "the backup at this `PATH` of the bucket below backups/, as user/anne")
		f.BoolVarP(&g.selection.All, "all-mailboxes", "a", false, "everything that lived: mailboxes, subscriptions, seen state, scripts, quota, annotations")
		f.BoolVarP(&g.selection.Recursive, "recursive", "r", false, "with the mailboxes below those named")
		f.StringVarP(&g.input, "input-file", "F", "", "objects from `FILE`, one a line (- is standard input; # begins a comment)")
		f.StringVar(&g.atText, "at", "", `as of `+"`TIME`"+`: "2026-11-20 14:05", "yesterday 14:05", "3h ago", RFC 3339`)
		f.Uint64Var(&g.moment.Number, "commit", 0, "as of chunk `N` (cyr_backup BACKUP list chunks)")
		f.IntVar(&g.life, "life", 0, "as of the end of life `N` of a user whose name was given to somebody else later, with what was deleted along with the account")
		f.BoolVar(&g.fromLog, "from-log", false, "read the whole log and no checkpoint: slower, for when one is damaged")
		f.StringVar(&g.since, "since", "", "only what was delivered or deleted from `TIME` on; with -x: deleted")
		f.StringVar(&g.until, "until", "", "only what was delivered or deleted up to `TIME`; with -x: deleted")
		f.BoolVarP(&g.skip, "skip-expunged", "X", false, "never what had been expunged or deleted")
		f.BoolVarP(&g.only, "only-expunged", "x", false, "nothing but that")
		f.BoolVar(&g.keepDeleted, "keep-deleted", false, "leave \\Deleted on messages that had been expunged; else they come back without")
	})
	p.Group("Everybody", func(f *pflag.FlagSet) {
		f.BoolVar(&g.allUsers, "all-users", false, "every backup, as -a brings it; -A alone is the same where no BACKUP is named")
		f.StringVar(&g.domain, "domain", "", "the backups of all users of `DOMAIN`; also -D DOMAIN")
		f.StringVar(&g.prefix, "prefix", "", "the backups of all users whose userids begin with `PREFIX`; also -P PREFIX")
		f.StringVar(&g.resume, "resume", "", "note in `FILE` who is done, and leave these out when the restore is run again")
		f.BoolVarP(&g.json, "json", "j", false, "the report of all users as lines of JSON")
	})
	p.Group("Where to", func(f *pflag.FlagSet) {
		f.StringVar(&g.to, "to", "", "to `WHERE`: maildir:DIR, mbox:FILE, eml:DIR, tar:FILE (compressed if it ends in .zst), "+
			"imap://USER@HOST[:PORT]/, imaps://..., sync://HOST[:PORT]; in place of SERVER")
		f.StringVar(&g.passwordFile, "password-file", "", "an IMAP account's password is in `FILE`; else it is in RESTORE_IMAP_PASSWORD in the environment")
		f.StringVar(&g.journal, "journal", "", "note in `DIR` what an IMAP account was sent; without it in $XDG_STATE_HOME/backupd or ~/.local/state/backupd")
		f.StringVarP(&g.acl, "override-acl", "A", "", "new mailboxes get this `ACL`, as -A'anne lrswipkxtecda anyone lrs'; without a value the server's default")
		f.Lookup("override-acl").NoOptDefVal = noACL
		f.BoolVarP(&g.selection.KeepDeletedPrefix, "keep-deletedprefix", "D", false, "deleted mailboxes come back below DELETED")
		f.BoolVarP(&g.local, "local-only", "L", false, "do not tell a murder")
		f.StringVarP(&g.selection.Into, "dest-mailbox", "M", "", "everything into the mailbox `NAME`")
		f.StringArrayVar(&g.maps, "map", nil, "the mailbox OLD, and all below it, becomes NEW: `OLD=NEW`; can be given again")
		f.StringVarP(&g.partition, "dest-partition", "P", "", "new mailboxes go to this `PARTITION`")
		f.BoolVarP(&g.keepUIDs, "keep-uidvalidity", "U", false, "keep uniqueid, uidvalidity, uids and modseqs where the server has no such mailbox, or has the beginning of it")
	})
	p.Group("How", func(f *pflag.FlagSet) {
		f.BoolVarP(&g.dryRun, "dry-run", "n", false, "ask the server, say what would be changed, change nothing")
		f.BoolVar(&g.flagsOnly, "flags-only", false, "set the flags of messages that are there back; bring none")
		f.BoolVar(&g.lossy, "lossy", false, "what a kind of files cannot hold, as more than 26 keywords in a folder of a Maildir, is no problem")
		f.BoolVar(&g.newestFirst, "newest-first", false, "the newest messages of each mailbox first; of everybody first the mail of this week, then of a month, of a year, all")
		f.IntVar(&g.parallel, "parallel", 1, "use `N` connections; a mailbox, or with everybody a user, goes over one of them")
		f.StringVar(&g.rateText, "rate", "", "at most so many `BYTES` of mail a second, as 10MB")
		f.BoolVarP(&g.compress, "require-compression", "z", false, "compress, or do not restore")
		f.StringVar(&g.progress, "progress", "auto", "`HOW` to show it: auto (a bar on a terminal), bar, json (a line a second on standard error) or none")
		f.CountVarP(&g.verbose, "verbose", "v", "say what is restored; twice: each message")
		f.IntVarP(&g.delay, "delay", "w", 0, "wait `SECONDS` before anything is done")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.StringVarP(&g.config, "config", "C", imapconf.DefaultPath, "read `FILE` instead of the usual imapd.conf")
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

A mailbox that is named brings what lives in it, and what was expunged from it
and is still kept, as live messages. With -a, -U, --at or --commit it brings
what lived in it then. A message named by its GUID comes back whether it was
expunged or not. A name that no mailbox has any more means the one of that name
that was deleted last. Names are as an administrator sees them (user/anne/Sent)
or internal (user.anne.Sent); user/anne/Entwürfe can be typed as it is.

A mailbox that goes to another user gets the ACL of its nearest parent there, or
that server's default; -A overrides.

BACKUP is a userid. anne:bob brings what was anne's to bob, with subscriptions, scripts
and all else, under bob's access rights.

imap:// means STARTTLS; ?tls=no at its end does without, ?authuser=ADMIN logs in
as another. maildir is Maildir++ (.Archive.2023 beside cur); mbox is a directory
of mboxrd files if there is more than one mailbox; eml and tar have
Archive/2023/UID-GUID.eml, with messages.ndjson for the flags. folders.ndjson has
the mailboxes' original names; docs/restore.md says how files are named.

A restore only adds. What the destination has is neither overwritten nor brought
twice: a message is there already if its mailbox has one with the same bytes
(an IMAP server may have changed them: docs/restore.md). So it can be cut and
run again.
`

// backups completes names of backups.
func (g *given) backups(m cli.Mode) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return cli.ProposeBackups(cmd.Context(), g.config, m, begun)
	}
}

// propose completes an argument: the backup, where that is what comes next.
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
