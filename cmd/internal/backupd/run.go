package backupd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/crash"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/internal/visible"
)

// program is backupd with its environment.
type program struct {
	args   []string
	getenv func(string) string
	stdin  io.Reader // of the connection, without master and systemd
	stdout io.Writer // of that connection, or of --help
	stderr io.Writer
	euid   int
	logger func(service string, conf *imapconf.File) *slog.Logger
	build  func(environment) (service, error)
	end    time.Duration  // see lastResort
	exit   func(code int) // ends the process at once
}

// run runs the program and returns the exit status.
func (p program) run(ctx context.Context) int {
	inherited, inheritErr := master.Inherit(p.getenv) // first: nothing may inherit master's descriptors
	opt, done, err := parseOptions(ctx, p.args[1:], p.stdout)
	if done && p.getenv("CYRUS_SERVICE") != "" { // master would start it again and again after a 0
		err = errors.New("--help, --version and --completion cannot be used in cyrus.conf")
	}
	switch {
	case err != nil:
		fmt.Fprintf(p.stderr, "backupd: %s\n%s", visible.Text(err.Error()), new(options).commandLine(new(int)).Usage())
		return master.ExitUsage
	case done:
		return master.ExitOK
	}
	signals := master.Notify()
	log := p.logger(inherited.Service, nil)
	if p.euid == 0 {
		// Files owned by root would lock the cyrus user out (backup/backupd.c, service_init).
		return p.refuse(log, master.ExitUsage, errors.New("must not run as root: start it as the cyrus user, or let master(8) do so"))
	}
	if errors.Is(inheritErr, master.ErrDaemon) {
		return p.refuse(log, master.ExitConfig, inheritErr)
	}
	if inheritErr != nil {
		return p.refuse(log, master.ExitSoftware, inheritErr)
	}
	conf, err := imapconf.Load(opt.config, inherited.Service)
	if err != nil {
		return p.refuse(log, master.ExitConfig, err)
	}
	log = p.logger(inherited.Service, conf)
	logFaults(log)
	log.Info("starting", slog.String("version", version.Number()), slog.String("config", conf.Path()))
	report, err := crash.Watch(filepath.Join(conf.String("configdirectory"), "backupd-crashes"), log)
	if err != nil {
		log.Warn("a crash of this process will not be reported", slog.Any("err", err))
	} else {
		defer func() { _ = report.Close() }() // without effect: the next start finds an empty report
	}
	if err := p.prepare(ctx, log, opt, conf, inherited); err != nil {
		return p.refuse(log, master.ExitConfig, err)
	}
	r := &running{
		opt: opt, log: log, signals: signals, inherited: inherited, stdin: p.stdin, stdout: p.stdout,
		proc:       openProcFile(log, conf.String("proc_path"), inherited.Service),
		lastResort: lastResort{most: p.end, report: report, log: log, exit: p.exit},
	}
	defer r.proc.remove()
	r.svc, err = p.build(environment{name: inherited.Service, conf: conf, log: log, observe: r.proc.observe, end: r.end})
	if err != nil {
		return p.refuse(log, master.ExitConfig, err)
	}
	if err := r.join(ctx, conf); err != nil {
		return p.refuse(log, master.ExitConfig, err)
	}
	return r.live(ctx)
}

// prepare applies the settings that must be in effect before the first connection.
func (p program) prepare(ctx context.Context, log *slog.Logger, opt options, conf *imapconf.File, in *master.Inherited) error {
	if err := setUmask(conf); err != nil {
		return err
	}
	for _, w := range conf.Warnings() {
		log.Warn(w)
	}
	if conf.Duration("backup_retention") <= 0 {
		log.Info("backup_retention is not set: everything is kept for ever")
	}
	for _, w := range stores.IdleRetention(conf) {
		log.Warn(w)
	}
	if opt.noAuth {
		log.Error("-N: NO PASSWORD IS CHECKED: whoever reaches this service can read and change every backup")
	}
	format := conf.String("debug_command")
	if !opt.debug || format == "" {
		return nil
	}
	command, err := debugCommand(format, p.args[0], os.Getpid(), in.Service)
	if err != nil {
		return err
	}
	runDebugger(ctx, log, command)
	return nil
}

// refuse reports to the log and to standard error why this process does not serve.
func (p program) refuse(log *slog.Logger, code int, err error) int {
	log.Error("not started", slog.Any("err", err), slog.Int("status", code))
	fmt.Fprintf(p.stderr, "backupd: %s\n", visible.Text(err.Error()))
	return code
}
