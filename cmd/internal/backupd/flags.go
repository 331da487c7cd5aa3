package backupd

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
)

// defaultIdle is -T's default (master/service.c, REUSE_TIMEOUT).
const defaultIdle = 60

// maxNumber bounds the numbers on the command line.
const maxNumber = 1 << 30

// options are the command line. The options about connections accompany each connection
// that this process hands to another one.
type options struct {
	config string
	uses   int // 0: no limit. Cyrus's default 250 is for one connection per process; here it would end all sessions
	idle   time.Duration
	debug  bool
	tls    bool
	noAuth bool
	ssf    int
}

// commandLine describes the command line; parsing it fills o in, and idle. Values may be
// attached to their letter (-U5) or not.
func (o *options) commandLine(idle *int) *cmdline.Program {
	p := cmdline.New("backupd", "[OPTION...]")
	p.Group("Options", func(f *pflag.FlagSet) {
		f.StringVarP(&o.config, "config-file", "C", imapconf.DefaultPath, "read `FILE` as imapd.conf")
		f.IntVarP(&o.uses, "uses", "U", 0, "exit after `N` connections; 0: no limit")
		f.IntVarP(idle, "timeout", "T", defaultIdle, "exit after `SECONDS` without a connection; 0, or backup_metrics_listen: never")
		f.BoolVarP(&o.debug, "debug", "D", false, "run debug_command of imapd.conf before serving")
		f.BoolVarP(&o.tls, "tls", "s", false, "TLS from the first byte")
		f.BoolVarP(&o.noAuth, "no-auth", "N", false, "do not check passwords: for tests")
		f.IntVarP(&o.ssf, "ssf", "p", 0, "an external protection layer, such as a tunnel, has a strength of `BITS`")
		p.About(f)
	})
	p.Notes = `Cyrus master(8) starts backupd from the SERVICES section of cyrus.conf. Started
in another way, backupd serves systemd's sockets, or one connection on standard
input and output.
`
	p.Exit = []cmdline.Status{
		{Code: master.ExitOK, Text: "normal exit: idle, or replaced by a new process"},
		{Code: master.ExitUsage, Text: "the command line is wrong, or backupd was started as root"},
		{Code: master.ExitSoftware, Text: "what master gives a service is missing"},
		{Code: master.ExitOSErr, Text: "cannot accept connections any more"},
		{Code: master.ExitTempFail, Text: "ended by SIGTERM, SIGINT or SIGQUIT"},
		{Code: master.ExitConfig, Text: "imapd.conf has an error, or there is another fault that an administrator must fix"},
	}
	p.Arguments = cobra.NoFileCompletions
	return p
}

// parseOptions parses the arguments after the program's name. done reports that --help or a
// similar option was given, and its text was written to out.
func parseOptions(ctx context.Context, args []string, out io.Writer) (o options, done bool, err error) {
	var idle int
	p := o.commandLine(&idle)
	if done, err := p.Parse(ctx, args, out); done || err != nil {
		return o, done, err
	}
	if len(p.Args()) > 0 {
		return o, false, fmt.Errorf("unexpected argument %q", p.Args()[0])
	}
	for _, n := range []struct {
		letter string
		value  int
	}{{"-U", o.uses}, {"-T", idle}, {"-p", o.ssf}} {
		if n.value < 0 || n.value > maxNumber {
			return o, false, fmt.Errorf("%s %d: a number from 0 to %d is allowed", n.letter, n.value, maxNumber)
		}
	}
	o.idle = time.Duration(idle) * time.Second
	// Other processes read the same file, and may have another working directory.
	o.config, err = filepath.Abs(o.config)
	return o, false, err
}
