package restore

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/syncport"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// options is a valid command line.
type options struct {
	config       string
	server       string // or the value of --to
	toFiles      string // maildir, mbox, eml, tar, imap: --to's kind; "" = Cyrus
	mode         cli.Mode
	backup       string
	path         string // of the backup, in a restore of many users
	selection    restore.Options
	moment       history.Moment
	life         int
	notes        []string // about times on the command line
	fromLog      bool
	acl          *string
	partition    string
	local        bool
	keepUIDs     bool
	keepDeleted  bool
	heir         string // user who gets the mail; "" = the same user
	maps         []move
	chosen       *chosenUsers // nil = one backup
	resume       string
	asked        map[string]string // options that must be equal when the restore is resumed
	ofNow        bool              // the moment is the start of the restore
	json         bool
	compress     bool
	dryRun       bool
	flagsOnly    bool
	lossy        bool // limits of the file format are not problems
	newestFirst  bool
	parallel     int
	rate         int64
	progress     string
	passwordFile string
	journal      string
	verbose      int
	sleep        time.Duration
}

// parse parses a command line. It returns nil after --help and similar options, whose text it
// has written.
func parse(ctx context.Context, argv []string, std stdio, now time.Time) (*options, error) {
	g := &given{options: &options{}}
	p := g.commandLine()
	if done, err := p.Parse(ctx, attachedACL(argv), std.out); done {
		return nil, err
	} else if err != nil {
		return nil, cli.Usagef("%v", err)
	}
	if err := g.filled(p); err != nil {
		return nil, err
	}
	if p.Changed("override-acl") {
		acl, err := parseACL(g.acl)
		if err != nil {
			return nil, err
		}
		g.options.acl = &acl
	}
	return g.options, g.settle(p.Args(), std.in, now)
}

// settle parses the options in given.
func (g *given) settle(args []string, stdin io.Reader, now time.Time) error {
	o := g.options
	o.sleep = time.Duration(g.delay) * time.Second
	var err error
	if err = o.times(g.atText, g.since, g.until, now); err != nil {
		return err
	}
	if o.rate, err = parseRate(g.rateText); err != nil {
		return err
	}
	switch {
	case g.skip && g.only:
		return cli.Usagef("-X and -x exclude each other")
	case g.skip:
		o.selection.Deleted = restore.Without
	case g.only:
		o.selection.Deleted = restore.Only
	}
	rest, err := o.where(g.to, args)
	if err != nil {
		return err
	}
	if o.chosen, rest, err = g.chosenUsers(rest); err != nil {
		return err
	}
	if o.chosen != nil {
		o.selection.All, o.selection.LiveOnly = true, true
		o.asked = g.askedFor()
		return o.checkBatch(g)
	}
	if rest, err = o.which(map[cli.Mode]string{cli.ByPath: g.path, cli.ByMailbox: g.mailbox, cli.ByUser: g.user}, rest); err != nil {
		return err
	}
	if err := o.inherit(); err != nil {
		return err
	}
	if o.maps, err = parseMaps(g.maps); err != nil {
		return err
	}
	o.selection.Objects = rest
	if g.input != "" {
		if err := o.fromFile(g.input, stdin); err != nil {
			return err
		}
	}
	o.selection.LiveOnly = o.keepUIDs || o.flagsOnly || o.moment != history.Moment{} || o.life > 0
	o.selection.AtEnd = o.life > 0
	return o.check()
}

// attachedACL accepts -A with an attached value, like Cyrus's restore: pflag would parse -Alrs
// as four options.
func attachedACL(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		if a == "--" {
			copy(out[i:], argv[i:])
			break
		}
		if v, ok := strings.CutPrefix(a, "-A"); ok && v != "" {
			a = "--override-acl=" + strings.TrimPrefix(v, "=")
		}
		out[i] = a
	}
	return out
}

func (o *options) times(at, since, until string, now time.Time) error {
	for _, t := range []struct {
		option, value string
		to            *time.Time
		read          func(string, time.Time) (timespec.Moment, error)
	}{{"--at", at, &o.moment.Time, timespec.Past}, {"--since", since, &o.selection.Since, timespec.Past}, {"--until", until, &o.selection.Until, timespec.Parse}} {
		if t.value == "" {
			continue
		}
		v, err := t.read(t.value, now)
		if err != nil {
			return cli.Usagef("%s: %v", t.option, err)
		}
		if v.Note != "" {
			o.notes = append(o.notes, t.option+": "+v.Note)
		}
		*t.to = v.Time
		if t.option != "--since" {
			*t.to = timespec.Through(v.Time)
		}
	}
	if o.moment.Number > 0 && at != "" {
		return cli.Usagef("--at and --commit exclude each other")
	}
	return nil
}

func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(strings.TrimSuffix(s, "/s"))
	if err != nil || n == 0 {
		return 0, cli.Usagef("--rate %s: write a number of bytes per second, such as 500k or 10MB", s)
	}
	return int64(n), nil
}

// where removes the destination from the arguments.
func (o *options) where(to string, args []string) ([]string, error) {
	if to != "" {
		kind, rest, _ := strings.Cut(to, ":")
		switch kind {
		case "maildir", "mbox", "eml", "tar":
			o.toFiles, o.server = kind, rest
		case "imap", "imaps":
			o.toFiles, o.server = "imap", to
		default:
			server, err := syncport.ParseTo(to, "write maildir:DIR, mbox:FILE, eml:DIR, tar:FILE, imap://USER@HOST/ or sync://HOST")
			if err != nil {
				return nil, err
			}
			o.server = server
		}
		if o.server == "" {
			return nil, cli.Usagef("--to %s: the destination is empty", to)
		}
		return args, nil
	}
	if len(args) == 0 {
		return nil, cli.Usagef("name a server to restore to, or use --to")
	}
	o.server = args[0]
	return args[1:], nil
}

// which removes the backup from the arguments, unless an option names it.
func (o *options) which(byOption map[cli.Mode]string, args []string) ([]string, error) {
	for mode, name := range byOption {
		if name == "" {
			continue
		}
		if o.backup != "" {
			return nil, cli.Usagef("only one of -u, -m and -f can be given")
		}
		o.mode, o.backup = mode, name
	}
	if o.backup != "" {
		return args, nil
	}
	if len(args) == 0 {
		return nil, cli.Usagef("name a backup: a userid, or -m mailbox, or -f path")
	}
	o.mode, o.backup = cli.ByUser, args[0]
	return args[1:], nil
}

func (o *options) fromFile(name string, stdin io.Reader) error {
	if o.selection.All || len(o.selection.Objects) > 0 {
		return cli.Usagef("-F, -a and mailboxes as arguments exclude each other")
	}
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return cli.Usagef("%v", err)
		}
		defer f.Close()
		r = f
	}
	var err error
	if o.selection.Objects, err = lines(r); err != nil {
		return cli.Usagef("%s: %v", name, err)
	}
	return nil
}

// check rejects options that exclude each other.
func (o *options) check() error {
	s := &o.selection
	switch {
	case o.life < 0:
		return cli.Usagef("--life: lives are numbered from 1")
	case o.life > 0 && o.chosen != nil:
		return cli.Usagef("--life is for one user")
	case o.life > 0 && (o.moment != history.Moment{}):
		return cli.Usagef("--life means the end of that life: it excludes --at and --commit")
	case s.All && len(s.Objects) > 0:
		return cli.Usagef("-a restores every mailbox: name no others")
	case !s.All && len(s.Objects) == 0:
		return cli.Usagef("name what to restore: mailboxes, uniqueids or GUIDs of messages, or -a for everything")
	case o.keepUIDs && (o.acl != nil || s.Into != "" || o.partition != ""):
		return cli.Usagef("-U restores mailboxes unchanged: it excludes -A, -M and -P")
	case (o.heir != "" || len(o.maps) > 0) && (o.keepUIDs || s.Into != "" || s.KeepDeletedPrefix):
		return cli.Usagef("USER:OTHER and --map give mailboxes other names: they exclude -D, -M and -U")
	case o.flagsOnly && (o.keepUIDs || o.acl != nil || s.Into != "" || s.Deleted == restore.Only || o.partition != "" || o.local || o.newestFirst):
		return cli.Usagef("--flags-only changes existing messages: it excludes -A, -L, -M, -P, -U, -x and --newest-first")
	case o.chosen == nil && (o.resume != "" || o.json):
		return cli.Usagef("--resume and -j are for restores of many users: --all-users, --domain or --prefix")
	case o.keepUIDs && o.newestFirst:
		return cli.Usagef("--newest-first gives messages new uids: it excludes -U")
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return cli.Usagef("--since must be before --until")
	case o.parallel < 1 || o.parallel > 32:
		return cli.Usagef("--parallel: from 1 to 32 connections")
	case o.progress != "auto" && o.progress != "json" && o.progress != "none" && o.progress != "bar":
		return cli.Usagef("--progress: auto, bar, json or none")
	case o.toFiles != "" && (o.local || o.keepUIDs || o.acl != nil || o.partition != "" || o.compress || o.flagsOnly):
		return cli.Usagef("-A, -L, -P, -U, -z and --flags-only are for Cyrus servers, not for --to %s", o.toFiles)
	case o.lossy && (o.toFiles == "" || o.toFiles == "imap"):
		return cli.Usagef("--lossy is for --to maildir and mbox")
	case o.toFiles != "" && o.toFiles != "imap" && o.chosen == nil && (o.newestFirst || o.parallel > 1):
		return cli.Usagef("--newest-first and --parallel are for servers, not for --to %s", o.toFiles)
	case o.journal != "" && o.toFiles != "imap":
		return cli.Usagef("--journal is for --to imap://...: other destinations need none")
	case o.passwordFile != "" && o.toFiles != "imap":
		return cli.Usagef("--password-file is for --to imap://...; for a Cyrus server set restore_password in imapd.conf")
	}
	return nil
}
