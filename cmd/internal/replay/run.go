// Package replay is backup_replay, which pushes mail to any csync server, as sync_client
// would.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/replay/internal/source"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/replication/client"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitSource = 3
)

// exitError carries an exit status. err is nil if the error was already reported.
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

// Main runs the program and returns its exit status. args begin with the program's name.
// stderr also becomes the standard error of what --exec runs.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, args[1:], stdout, stderr)
	if err == nil {
		return 0
	}
	status := exitUsage
	var e *exitError
	if errors.As(err, &e) {
		status = e.status
	}
	if e == nil || e.err != nil {
		fmt.Fprintf(stderr, "backup_replay: %s\n", visible.Text(err.Error()))
	}
	return status
}

// run runs the program. An error other than an exitError is a wrong command line.
func run(ctx context.Context, argv []string, out, stderr io.Writer) error {
	s := settings{connection: connection{stderr: stderr}}
	p := s.commandLine()
	if done, err := p.Parse(ctx, argv, out); done || err != nil {
		return err
	}
	args := p.Args()
	if len(args) > 0 && args[0] == serveNull {
		if len(args) != 2 || p.Changed("server") || s.useExec || s.null {
			return errors.New("serve-null takes one LISTEN")
		}
		return listenAndServe(ctx, args[1], s.compress, out)
	}
	if dash := p.ArgsLenAtDash(); dash >= 0 {
		s.program = args[dash:]
		args = args[:dash]
	}
	if err := s.validate(args); err != nil {
		return err
	}
	return s.run(ctx, args[0], out)
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
	fault(len(args) != 1, "name one SOURCE")
	fault(ways != 1, "give one of --server, --exec, --null")
	fault(s.useExec != (len(s.program) > 0), "--exec and -- PROGRAM need each other")
	fault(s.users < 1 || s.connections < 1 || s.rounds < 1, "--users, --connections and --rounds must be at least 1")
	fault(s.grow < 0, "--grow must not be negative")
	fault(s.grow > 0 && len(args) == 1 && !strings.HasPrefix(args[0], "gen:"), "--grow is for gen: sources")
	fault(s.user == "", "--user is empty")
	return errors.Join(faults...)
}

func (s *settings) run(ctx context.Context, src string, out io.Writer) (err error) {
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
		addr, stop, err := startNull(ctx)
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
		sum.Rounds = append(sum.Rounds, p.round(ctx, i))
	}
	write := sum.writeText
	if s.json {
		write = sum.writeJSON
	}
	if err := write(out); err != nil {
		return &exitError{exitFailed, err}
	}
	if sum.failed() {
		return &exitError{status: exitFailed}
	}
	return nil
}

// plan reads or generates the mail.
func (s *settings) plan(src string) (*plan, error) {
	p := &plan{connections: s.connections, part: func(f source.Folder, _ int) int { return len(f.Messages) }}
	for part := range strings.SplitSeq(s.folder, "/") {
		if part != "" {
			p.top = append(p.top, cyrus.UTF7(part))
		}
	}
	if !strings.HasPrefix(src, "gen:") {
		folders, err := source.Read(src, s.verbatim)
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
