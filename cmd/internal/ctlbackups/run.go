// Package ctlbackups is ctl_backups, which administers backups.
package ctlbackups

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/limit"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Main runs the program and returns its exit status. args begin with the program's name.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := bufio.NewWriter(stdout)
	cli.SaveMemory()
	return cli.Main("ctl_backups", new(command).commandLine().Usage(), stderr, func(ctx context.Context) error {
		c := &command{ctx: ctx, now: clock.Now(), clock: clock.Now, in: stdin, out: out, direct: stdout, err: stderr, audit: cli.Audit{Tool: "ctl_backups"}}
		err := c.run(args[1:])
		if flushed := out.Flush(); err == nil {
			err = flushed
		}
		return err
	})
}

// command is one run of the program.
type command struct {
	ctx    context.Context
	open   cli.Opener // nil: cli.Open, or cli.OpenToWrite if the command changes backups
	bucket *cli.Bucket
	now    time.Time
	clock  func() time.Time // nil: time.Now
	// placesNow looks at the places of all backups in each night, for tests.
	placesNow bool
	// setOptions are options of an opened Set, for tests.
	setOptions partitions.Options
	host       string // in commits
	in         io.Reader
	out        io.Writer
	direct     io.Writer // the writer below out, for child processes: their output appears at once, and they can detect a terminal
	err        io.Writer
	audit      cli.Audit
	tally      tally
	args       []string
	byClient   map[string][]*repository.Contact // of all mail servers, for list -t
	matched    map[int]bool                     // the args, with -D and -P, that matched a backup
	target     string                           // of move and export

	config     string
	mode       mode
	modes      map[mode]*bool // as given
	json       bool
	ndjson     bool
	human      bool
	wait       bool
	create     bool
	pause      bool
	execute    string
	quick      bool
	read       amount
	repair     bool
	dryRun     bool
	stop       bool
	stale      int // hours; -1 = all
	verbose    int
	remove     bool
	source     string // passwd: a database of Cyrus SASL, or its dump
	replace    bool
	realm      string // passwd: whose users log in without a realm
	list       bool
	fromBucket bool
	shared     bool
	backups    bool
	length     time.Duration // of a profile, or of compact
	timed      bool          // length was given
	age        length        // --max-age
	rate       int           // requests per second to each partition; 0 = no limit
	holds      bool
	reason     string
	until      string
	end        time.Time // until
	yes        bool
	tripwire   bool
	before     string    // of erase
	history    time.Time // before: the history up to there is erased
	messages   []string  // GUIDs of messages to erase
	// acceptMissing are paths of backups that compact -A need not find.
	acceptMissing []string
	guids         []cyrus.GUID
	cancel        bool
	unswept       bool  // an erasure of history could not be continued
	swept         swept // nil: not in a run of compact
	waitErased    bool
	client        bool
	cyrusConf     string
	users         int     // drill: how many; 0 = not given
	share         portion // drill: the share of backups; 0 = not given
	scratch       string
	to            string              // drill: the server; "" = a directory
	draw          func(n int) int     // returns a random number below n, for tests; nil = rand.IntN
	terminal      bool                // somebody can answer, for tests
	pass          func(time.Duration) // waits, for tests; nil = time passes by itself
	initKey       bool                // seal
	syslog        bool                // seal
	newCopy       bool                // seal
	accept        uint64              // seal
	seals         bool                // verify
}

// run escapes text of strangers in all output.
func (c *command) run(argv []string) error {
	out := cli.Output(c.out)
	c.out, c.err = out, cli.Messages(c.err)
	err := c.call(argv)
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return err
}

func (c *command) call(argv []string) error {
	p := c.commandLine()
	if done, err := p.Parse(c.ctx, hours(argv), c.out); done {
		return err
	} else if err != nil {
		return cli.Usagef("%v", err)
	}
	c.args, c.matched = p.Args(), map[int]bool{}
	switch {
	case len(c.args) == 0:
		return cli.Usagef("name a command")
	case c.structured() && c.verbose > 0:
		return cli.Usagef("-j and -v cannot be used together")
	}
	if err := c.setMode(); err != nil {
		return err
	}
	name := c.args[0]
	c.args = c.args[1:]
	if err := c.applies(p, name); err != nil {
		return err
	}
	return c.do(name)
}

func (c *command) do(name string) error {
	all := verbs()
	i := slices.IndexFunc(all, func(v verb) bool { return v.Name == name })
	if i < 0 {
		return cli.Usagef("%q is not a command", name)
	}
	if name != "passwd" && name != "doctor" && !c.initKey {
		if err := c.checkNames(name); err != nil {
			return err
		}
		var err error
		if c.bucket, err = c.opener(name)(c.ctx, c.config, "ctl_backups"); err != nil {
			return err
		}
		defer c.bucket.Close()
		if c.host, err = c.bucket.Conf.ServerName(); err != nil {
			return err
		}
		if c.rate > 0 {
			for i, p := range c.bucket.Partitions {
				c.bucket.Partitions[i].Store = limit.New(p.Store, limit.Options{Rate: c.rate})
			}
		}
	}
	err := all[i].do(c)
	if c.repair || slices.Contains([]string{"erase", "hold", "import", "lock", "move", "release", "set-aside"}, name) {
		c.changed()
	}
	c.record(name, err)
	return err
}

// opener returns what opens the partitions for a command.
func (c *command) opener(name string) cli.Opener {
	switch {
	case c.open != nil:
		return c.open
	case name == "status":
		return cli.OpenSoon
	case c.reads(name):
		return cli.Open
	}
	return cli.OpenToWrite
}

// reads reports whether a command only reads.
func (c *command) reads(name string) bool {
	switch name {
	case "list", "stat", "cost", "debug", "drill":
		return true
	case "verify":
		return !c.repair || c.dryRun
	case "compact", "forget-server":
		return c.dryRun
	case "erase":
		return c.dryRun || c.list
	}
	return false
}

// record writes a line for the audit if the command has changed backups or copied them elsewhere.
// passwd, erase, drill, compact and forget-server write their own.
func (c *command) record(name string, err error) {
	switch {
	case name == "hold", name == "release":
		c.audit.Done(c.bucket.Conf, name, err, "what", c.what(), "reason", c.reason, "until", c.until, "backups", c.tally.backups, "failed", c.tally.failed)
	case name == "export", name == "import", name == "move":
		c.audit.Done(c.bucket.Conf, name, err, c.tally.attrs(c.what(), c.target)...)
	case c.repair && !c.dryRun:
		c.audit.Done(c.bucket.Conf, "repair", err, "what", c.what())
	case name == "set-aside", name == "lock":
		c.audit.Done(c.bucket.Conf, name, err, "what", c.what())
	}
}

func (c *command) checkNames(verb string) error {
	if verb == "move" || verb == "export" {
		if len(c.args) == 0 {
			return cli.Usagef("%s needs backups and a destination", verb)
		}
		c.target = c.args[len(c.args)-1]
		c.args = c.args[:len(c.args)-1]
	}
	switch {
	case verb == "debug":
		return c.checkDebug()
	case verb == "cost" && (c.anyMode() || len(c.args) > 0):
		return cli.Usagef("cost takes no mode and no names: it reads all partitions")
	case verb == "status" && c.anyMode():
		return cli.Usagef("status takes partitions, and no mode")
	case verb == "forget-server" && (c.anyMode() || len(c.args) == 0):
		return cli.Usagef("forget-server takes mail servers, as status prints them, and no mode")
	case verb == "cost", verb == "status", verb == "forget-server":
		return nil
	case verb == "import" && (c.mode != modeUsers || len(c.args) == 0):
		return cli.Usagef("import takes files, directories and locations, and no mode")
	case verb == "lock" && (len(c.args) != 1 || c.many()):
		return cli.Usagef("lock takes exactly one backup")
	case verb == "verify" && c.read.given():
		if len(c.args) > 0 || c.anyMode() && c.mode != modeAll {
			return cli.Usagef("verify --read takes no names: it continues where the last one has ended")
		}
		c.mode = modeAll
	case verb == "seal":
		return c.checkSeal()
	case verb == "verify" && c.seals:
		return c.checkVerifySeals()
	case verb == "drill":
		if err := c.checkDrill(); err != nil {
			return err
		}
	case verb == "hold":
		if err := c.checkHold(); err != nil {
			return err
		}
	case verb == "release":
		if err := c.checkRelease(); err != nil {
			return err
		}
	case verb == "erase":
		if c.list {
			return c.checkEraseList()
		}
		if err := c.checkErase(); err != nil {
			return err
		}
	}
	switch {
	case verb == "set-aside" && c.many():
		return cli.Usagef("set-aside takes names of single backups")
	case c.pause && c.execute != "":
		return cli.Usagef("only one of -p and -x can be given")
	case c.mode == modeAll && len(c.args) > 0:
		return cli.Usagef("-A takes no names, and %q was given", strings.Join(c.args, " "))
	case c.mode != modeAll && len(c.args) == 0 && verb == "list":
		c.mode = modeAll
	case c.mode != modeAll && len(c.args) == 0:
		return cli.Usagef("%s needs a backup, or -A for all", verb)
	}
	return nil
}
