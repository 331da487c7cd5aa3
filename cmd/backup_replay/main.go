// Command backup_replay pushes mail to any csync server, as sync_client would:
// to try one, to fill one, to measure one.
//
// Exit status: 0 everything was pushed, or the server had it already; 1 a user
// failed (the summary says which, and why); 2 the command line is wrong; 3 the
// source cannot be read.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"backupd/cmd/backup_replay/internal/source"
	"backupd/replication/client"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitSource = 3
)

// exitError carries an exit status. One without an error was reported already.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command().ExecuteContext(ctx)
	if err == nil {
		return
	}
	status := exitUsage
	var e *exitError
	if errors.As(err, &e) {
		status = e.status
	}
	if e == nil || e.err != nil {
		fmt.Fprintln(os.Stderr, "backup_replay:", err)
	}
	stop()
	os.Exit(status)
}

// settings are the flags of a push.
type settings struct {
	connection
	useExec     bool
	null        bool
	user        string
	users       int
	connections int
	folder      string
	rounds      int
	grow        int
	json        bool
}

func command() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "backup_replay [flags] SOURCE [-- PROGRAM ARGS…]",
		Short: "push mail to a csync server",
		Long: `SOURCE is a Maildir (with the folders below it), an mbox (mboxrd), a directory of .eml files, or
gen:COUNT:SIZE[:SEED], which makes COUNT messages of about SIZE bytes (k, M).

The same source gives the same mailboxes at every run: the second finds nothing to do.
Exit status: 0 done, 1 a user failed, 2 usage, 3 source unreadable.`,
		Example: `  backup_replay --server localhost:2005 --auth repl --password-file pw --user anne gen:1000:5k
  backup_replay --server /run/csync --users 10 --connections 4 ~/Maildir
  backup_replay --user anne --exec mail.mbox -- backupd -C imapd.conf
  backup_replay --null --connections 4 --users 4 gen:10000:5k`,
		Args:          cobra.MinimumNArgs(1),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash >= 0 {
				s.program = args[dash:]
				args = args[:dash]
			}
			if err := s.validate(args); err != nil {
				return err
			}
			return s.run(cmd, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.server, "server", "", "host:port, or the path of a UNIX socket")
	f.BoolVar(&s.useExec, "exec", false, "run what stands behind -- for each connection and speak to its standard input and output")
	f.BoolVar(&s.null, "null", false, "push to a null server in this process: what this program can do at most")
	f.StringVar(&s.auth, "auth", "", "log in as this user; the password is in --password-file or in "+passwordEnv)
	f.StringVar(&s.passwordFile, "password-file", "", "file with the password")
	f.StringVar(&s.mech, "mech", "", "SASL mechanism: PLAIN or SCRAM-SHA-256 (the stronger one offered)")
	f.BoolVar(&s.compress, "compress", false, "COMPRESS DEFLATE, if it is offered")
	f.BoolVar(&s.tls, "tls", false, "TLS from the first byte")
	f.BoolVar(&s.startTLS, "starttls", false, "STARTTLS")
	f.StringVar(&s.caFile, "ca", "", "file with the certificates to trust")
	f.BoolVar(&s.insecure, "insecure", false, "trust any certificate")
	f.StringVar(&s.user, "user", "replay", "user whose mail it is")
	f.IntVar(&s.users, "users", 1, "push for that many users, USER1, USER2, …; generated mail differs among them")
	f.IntVar(&s.connections, "connections", 1, "connections at a time")
	f.StringVar(&s.folder, "folder", "", "mailbox below INBOX for the source's top, components joined by /")
	f.IntVar(&s.rounds, "rounds", 1, "push that many times")
	f.IntVar(&s.grow, "grow", 0, "messages that gen: adds to each mailbox with each further round; a later run must not begin with fewer")
	f.BoolVar(&s.json, "json", false, "print the summary as JSON")
	cmd.AddCommand(serveNullCommand())
	return cmd
}

func (s *settings) validate(args []string) error {
	var faults []error
	fault := func(bad bool, msg string) {
		if bad {
			faults = append(faults, errors.New(msg))
		}
	}
	ways := 0
	for _, given := range []bool{s.server != "", s.useExec, s.null} {
		if given {
			ways++
		}
	}
	fault(len(args) != 1, "want one SOURCE")
	fault(ways != 1, "want one of --server, --exec, --null")
	fault(s.useExec != (len(s.program) > 0), "--exec and -- PROGRAM go together")
	fault(s.users < 1 || s.connections < 1 || s.rounds < 1, "--users, --connections and --rounds are at least 1")
	fault(s.grow < 0, "--grow is at least 0")
	fault(s.grow > 0 && len(args) == 1 && !strings.HasPrefix(args[0], "gen:"), "--grow is for gen: sources")
	fault(s.user == "", "--user is empty")
	return errors.Join(faults...)
}

func (s *settings) run(cmd *cobra.Command, src string) (err error) {
	o, err := s.options()
	if err != nil {
		return err
	}
	start := time.Now()
	p, err := s.plan(src)
	if err != nil {
		return err
	}
	sum := &Summary{Server: s.name(), Users: s.users, Connections: min(s.connections, s.users), PrepareSeconds: time.Since(start).Seconds()}
	if s.null {
		addr, stop, err := startNull(cmd.Context())
		if err != nil {
			return &exitError{exitFailed, err}
		}
		defer func() { err = errors.Join(err, stop()) }()
		s.server, sum.Server = addr, "null server"
	}
	p.dial = func(ctx context.Context, observe func(string, time.Duration, time.Duration)) (*client.Client, error) {
		return s.dial(ctx, o, observe)
	}
	for i := range s.rounds {
		sum.Rounds = append(sum.Rounds, p.round(cmd.Context(), i))
	}
	write := sum.writeText
	if s.json {
		write = sum.writeJSON
	}
	if err := write(cmd.OutOrStdout()); err != nil {
		return &exitError{exitFailed, err}
	}
	if sum.failed() {
		return &exitError{status: exitFailed}
	}
	return nil
}

// plan reads or makes the mail.
func (s *settings) plan(src string) (*plan, error) {
	p := &plan{connections: s.connections, part: func(f source.Folder, _ int) int { return len(f.Messages) }}
	for part := range strings.SplitSeq(s.folder, "/") {
		if part != "" {
			p.top = append(p.top, source.UTF7(part))
		}
	}
	if !strings.HasPrefix(src, "gen:") {
		folders, err := source.Read(src)
		if err != nil {
			return nil, &exitError{exitSource, err}
		}
		p.users = usersOf(s.user, s.users, func(int) []source.Folder { return folders })
		return p, nil
	}
	g, err := source.ParseGen(src)
	if err != nil {
		return nil, err
	}
	count := g.Count
	p.part = func(_ source.Folder, round int) int { return count + round*s.grow }
	g.Count += (s.rounds - 1) * s.grow
	p.users = usersOf(s.user, s.users, func(i int) []source.Folder {
		mine := g
		mine.Seed += uint64(i)
		return []source.Folder{mine.Folder()}
	})
	return p, nil
}
