package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"backupd/internal/imapconf"
)

const usageText = `usage: backupd [-C config-file] [-U uses] [-T timeout] [-D] [-s] [-N] [-p ssf]
  -C config-file  read this instead of /etc/imapd.conf
  -U uses         end after this many connections; 0 (the default): no limit
  -T timeout      end after this many idle seconds (default 60); 0: never
  -D              run debug_command of imapd.conf before serving
  -s              TLS from the first byte on
  -N              check no passwords: for tests
  -p ssf          strength in bits of a protection outside of backupd
Cyrus master(8) starts it from the SERVICES section of cyrus.conf. Started otherwise,
it serves systemd's sockets or one connection on standard input and output.
`

// defaultIdle is -T's default (master/service.c, REUSE_TIMEOUT).
const defaultIdle = 60

// maxNumber bounds the numbers on the command line.
const maxNumber = 1 << 30

// options are the command line. Those that say how to serve a connection go with each
// connection that this process accepts.
type options struct {
	config string
	uses   int // 0: no limit. Cyrus's own 250 suits a process per connection: here it would end everybody's sessions
	idle   time.Duration
	debug  bool
	tls    bool
	noAuth bool
	ssf    int
}

// parseOptions reads the arguments behind the program's name. Values may be attached
// to their letter (-U5) or not. The error is for stderr, followed by usageText.
func parseOptions(args []string) (options, error) {
	var o options
	var idle int
	fs := pflag.NewFlagSet("backupd", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVarP(&o.config, "config-file", "C", imapconf.DefaultPath, "")
	fs.IntVarP(&o.uses, "uses", "U", 0, "")
	fs.IntVarP(&idle, "timeout", "T", defaultIdle, "")
	fs.BoolVarP(&o.debug, "debug", "D", false, "")
	fs.BoolVarP(&o.tls, "tls", "s", false, "")
	fs.BoolVarP(&o.noAuth, "no-auth", "N", false, "")
	fs.IntVarP(&o.ssf, "ssf", "p", 0, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return o, errors.New("help")
		}
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	for _, n := range []struct {
		letter string
		value  int
	}{{"-U", o.uses}, {"-T", idle}, {"-p", o.ssf}} {
		if n.value < 0 || n.value > maxNumber {
			return o, fmt.Errorf("%s %d: a number from 0 to %d is allowed", n.letter, n.value, maxNumber)
		}
	}
	o.idle = time.Duration(idle) * time.Second
	return o, nil
}
