package backupd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/cyrusbackup/backupd/internal/handover"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
)

// running is the process after the configuration was read.
type running struct {
	opt       options
	log       *slog.Logger
	signals   *master.Signals
	inherited *master.Inherited
	stdin     io.Reader
	stdout    io.Writer
	svc       service
	proc      *procFile
	process   *master.Process
	role      *handover.Member
	index     *pendingIndex
	lastResort
}

// join sets up the process and joins the group of processes with the same index.
func (r *running) join(ctx context.Context, conf *imapconf.File) (err error) {
	r.process = master.New(master.Config{
		Listeners: r.inherited.Listeners,
		Status:    r.inherited.Status,
		Options:   r.connOptions(),
		Uses:      r.opt.uses,
		Idle:      r.opt.idle,
		Binary:    r.binary(),
		Signals:   r.signals,
		Logger:    r.log,
	}, limits(conf))
	r.role, err = handover.Join(ctx, handover.Config{
		Index:       r.svc.Index(),
		Fingerprint: r.svc.Fingerprint(),
		Reserve:     r.process.Reserve,
		Conflict: func(err error) {
			r.log.Error("cannot go on", slog.Any("err", err))
			r.process.Exit(master.ExitConfig, "another process owns the index, with other settings")
		},
		Logger: r.log,
	})
	return err
}

func (r *running) connOptions() master.Options {
	return master.Options{Service: r.inherited.Service, Config: r.opt.config, TLS: r.opt.tls, NoAuth: r.opt.noAuth, SSF: r.opt.ssf}
}

// binary watches the program file. Without it the process serves, but misses upgrades.
func (r *running) binary() *master.Binary {
	path, err := os.Executable()
	if err == nil {
		var b *master.Binary
		if b, err = master.WatchBinary(path); err == nil {
			return b
		}
	}
	r.log.Warn("upgrades of the program will not be noticed", slog.Any("err", err))
	return nil
}

// end asks the process to end, so that another one takes its place.
func (r *running) end(reason string) { r.process.Exit(master.ExitOK, reason) }

// live serves until the process ends. It releases the index last.
func (r *running) live(ctx context.Context) int {
	r.index = openPending(ctx, r.role, r.open, r.process.Draining(), func(err error) {
		r.log.Error("open the index", slog.Any("err", err))
		r.process.Exit(master.ExitConfig, "the index cannot be opened")
	})
	stop := func() {}
	callbacks := master.Callbacks{Serve: r.serve, Reload: r.reload, Settled: r.role.Settled, Retire: r.role.Retire,
		Ending: func(code int, within time.Duration) { stop = r.begin(code, within) }}
	var code int
	if len(r.inherited.Listeners) > 0 {
		code = r.process.Run(ctx, callbacks)
	} else {
		code = r.liveOnStdio(ctx, callbacks)
	}
	stop()
	defer r.begin(code, 0)()
	opened := r.index.stop()
	var err error
	if opened {
		err = r.svc.Close()
	}
	if err = errors.Join(err, r.role.Release()); err != nil {
		r.log.Error("end", slog.Any("err", err))
	}
	return code
}

// open opens the index.
func (r *running) open(ctx context.Context) error {
	err := r.svc.Open(ctx)
	if err == nil && r.svc.Stays() {
		r.process.Stay()
	}
	return err
}

func (r *running) liveOnStdio(ctx context.Context, cb master.Callbacks) int {
	s, err := openStdio(r.stdin, r.stdout, r.connOptions())
	if err != nil {
		r.log.Error("standard input", slog.Any("err", err))
		return master.ExitSoftware
	}
	cb.Serve = func(ctx context.Context, c *master.Conn) {
		if c == s.conn && r.role.Pass(ctx, c) {
			s.wait(ctx)
			return
		}
		r.svc.Serve(ctx, c, r.index.wait, r.process.Draining())
	}
	code := r.process.RunOne(ctx, s.conn, cb)
	s.flush()
	return code
}

func (r *running) serve(ctx context.Context, c *master.Conn) {
	if r.role.Pass(ctx, c) {
		return
	}
	r.svc.Serve(ctx, c, r.index.wait, r.process.Draining())
}

// reload handles SIGHUP: it applies the whole new configuration, or keeps the old one.
func (r *running) reload(ctx context.Context) error {
	conf, err := imapconf.Load(r.opt.config, r.inherited.Service)
	if err != nil {
		return err
	}
	for _, w := range conf.Warnings() {
		r.log.Warn(w)
	}
	if err := r.svc.Reload(ctx, conf); err != nil {
		return err
	}
	r.process.SetLimits(limits(conf))
	return nil
}
