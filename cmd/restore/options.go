package main

import (
	"io"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"backupd/cmd/internal/cli"
	"backupd/internal/restore"
	"backupd/internal/when"
	"backupd/partitions/history"
)

// options is a command line that makes sense.
type options struct {
	help, version bool
	config        string
	server        string // or what --to says
	toFiles       string // maildir, mbox, eml, tar, imap: --to's kind; "" = Cyrus
	mode          cli.Mode
	backup        string
	selection     restore.Options
	moment        history.Moment
	acl           *string
	partition     string
	local         bool
	keepUIDs      bool
	compress      bool
	dryRun        bool
	flagsOnly     bool
	newestFirst   bool
	parallel      int
	rate          int64
	progress      string
	passwordFile  string
	verbose       int
	sleep         time.Duration
}

// noACL stands for -A without a value: pflag wants something there.
const noACL = "\x00"

func parse(argv []string, stdin io.Reader, now time.Time) (*options, error) {
	o := &options{}
	f := pflag.NewFlagSet("restore", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVarP(&o.config, "config", "C", "/etc/imapd.conf", "")
	f.BoolVarP(&o.help, "help", "h", false, "")
	f.BoolVar(&o.version, "version", false, "")
	acl := f.StringP("override-acl", "A", "", "")
	f.Lookup("override-acl").NoOptDefVal = noACL
	f.BoolVarP(&o.selection.KeepDeletedPrefix, "keep-deletedprefix", "D", false, "")
	file := f.StringP("input-file", "F", "", "")
	f.BoolVarP(&o.local, "local-only", "L", false, "")
	f.StringVarP(&o.selection.Into, "dest-mailbox", "M", "", "")
	f.StringVarP(&o.partition, "dest-partition", "P", "", "")
	f.BoolVarP(&o.keepUIDs, "keep-uidvalidity", "U", false, "")
	skip := f.BoolP("skip-expunged", "X", false, "")
	only := f.BoolP("only-expunged", "x", false, "")
	f.BoolVarP(&o.selection.All, "all-mailboxes", "a", false, "")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "")
	f.BoolVarP(&o.selection.Recursive, "recursive", "r", false, "")
	f.CountVarP(&o.verbose, "verbose", "v", "")
	wait := f.IntP("delay", "w", 0, "")
	f.BoolVarP(&o.compress, "require-compression", "z", false, "")
	byFile := f.StringP("file", "f", "", "")
	byMailbox := f.StringP("mailbox", "m", "", "")
	byUser := f.StringP("userid", "u", "", "")
	to := f.String("to", "", "")
	at := f.String("at", "", "")
	f.Uint64Var(&o.moment.Number, "commit", 0, "")
	since := f.String("since", "", "")
	until := f.String("until", "", "")
	f.BoolVar(&o.flagsOnly, "flags-only", false, "")
	f.BoolVar(&o.newestFirst, "newest-first", false, "")
	f.IntVar(&o.parallel, "parallel", 1, "")
	limit := f.String("rate", "", "")
	f.StringVar(&o.passwordFile, "password-file", "", "")
	f.StringVar(&o.progress, "progress", "auto", "")
	if err := f.Parse(attachedACL(argv)); err != nil {
		return nil, cli.Usagef("%v", err)
	}
	if o.help || o.version {
		return o, nil
	}
	if f.Changed("override-acl") {
		o.acl = acl
		if *acl == noACL {
			o.acl = new(string)
		}
	}
	o.sleep = time.Duration(*wait) * time.Second
	var err error
	if err = o.times(*at, *since, *until, now); err != nil {
		return nil, err
	}
	if o.rate, err = parseRate(*limit); err != nil {
		return nil, err
	}
	switch {
	case *skip && *only:
		return nil, cli.Usagef("-X and -x exclude each other")
	case *skip:
		o.selection.Deleted = restore.Without
	case *only:
		o.selection.Deleted = restore.Only
	}
	rest, err := o.where(*to, f.Args())
	if err != nil {
		return nil, err
	}
	if rest, err = o.which(map[cli.Mode]string{cli.ByPath: *byFile, cli.ByMailbox: *byMailbox, cli.ByUser: *byUser}, rest); err != nil {
		return nil, err
	}
	o.selection.Objects = rest
	if *file != "" {
		if err := o.fromFile(*file, stdin); err != nil {
			return nil, err
		}
	}
	o.selection.AsItWas = o.keepUIDs || o.flagsOnly || o.moment != history.Moment{}
	return o, o.check()
}

// attachedACL lets -A have its value attached, as in Cyrus's restore: pflag would
// take -Alrs for four options.
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
	}{{"--at", at, &o.moment.Time}, {"--since", since, &o.selection.Since}, {"--until", until, &o.selection.Until}} {
		if t.value == "" {
			continue
		}
		v, err := when.Parse(t.value, now)
		if err != nil {
			return cli.Usagef("%s: %v", t.option, err)
		}
		*t.to = v
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
		return 0, cli.Usagef("--rate %s: write a number of bytes a second, as 500k or 10MB", s)
	}
	return int64(n), nil
}

// where takes the destination off the arguments.
func (o *options) where(to string, args []string) ([]string, error) {
	if to != "" {
		kind, rest, _ := strings.Cut(to, ":")
		switch kind {
		case "maildir", "mbox", "eml", "tar":
			o.toFiles, o.server = kind, rest
		case "imap", "imaps":
			o.toFiles, o.server = "imap", to
		case "sync":
			o.server = strings.TrimSuffix(strings.TrimPrefix(rest, "//"), "/")
		default:
			o.server = to
		}
		if o.server == "" {
			return nil, cli.Usagef("--to %s: it does not say where to", to)
		}
		return args, nil
	}
	if len(args) == 0 {
		return nil, cli.Usagef("a server to restore to is needed, or --to")
	}
	o.server = args[0]
	return args[1:], nil
}

// which takes the backup off the arguments, unless an option names it.
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
		return nil, cli.Usagef("a backup is needed: a userid, or -m mailbox, or -f path")
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

// check refuses what does not go together.
func (o *options) check() error {
	s := &o.selection
	switch {
	case s.All && len(s.Objects) > 0:
		return cli.Usagef("-a is for every mailbox: no further ones can be named")
	case !s.All && len(s.Objects) == 0:
		return cli.Usagef("say what to restore: mailboxes, uniqueids or GUIDs of messages, or -a for all of it")
	case o.keepUIDs && (o.acl != nil || s.Into != "" || o.partition != ""):
		return cli.Usagef("-U brings mailboxes as they were: it excludes -A, -M and -P")
	case o.flagsOnly && (o.keepUIDs || o.acl != nil || s.Into != "" || s.Deleted == restore.Only):
		return cli.Usagef("--flags-only changes messages that are there: it excludes -A, -M, -U and -x")
	case o.keepUIDs && o.newestFirst:
		return cli.Usagef("--newest-first gives messages new uids: it excludes -U")
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return cli.Usagef("--since has to be before --until")
	case o.parallel < 1 || o.parallel > 32:
		return cli.Usagef("--parallel: from 1 to 32 connections")
	case o.progress != "auto" && o.progress != "json" && o.progress != "none" && o.progress != "bar":
		return cli.Usagef("--progress: auto, bar, json or none")
	case o.toFiles != "" && (o.local || o.keepUIDs || o.acl != nil || o.partition != "" || o.compress || o.flagsOnly):
		return cli.Usagef("-A, -L, -P, -U, -z and --flags-only are for Cyrus servers, not for --to %s", o.toFiles)
	}
	return nil
}
