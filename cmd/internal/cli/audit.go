package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/syslog"
)

// Audit writes a line to syslog when a tool has moved other people's mail or changed a
// password: the user, the operation and the result. The zero value writes nothing.
type Audit struct {
	Tool   string
	Socket string // of the log daemon; "" = the usual one
}

// Done writes the line. attrs are pairs for slog about the objects of the operation. On a
// host without a log daemon Done does nothing.
func (a Audit) Done(conf *imapconf.File, verb string, err error, attrs ...any) {
	a.line(conf, attrs, func(log *slog.Logger) {
		switch {
		case err == nil:
			log.Log(context.Background(), syslog.LevelNotice, verb, "result", "ok")
		case errors.Is(err, ErrReported):
			log.Warn(verb, "result", "incomplete")
		default:
			log.Warn(verb, "result", "failed", "err", err)
		}
	})
}

// Alarm writes a line at level err.
func (a Audit) Alarm(conf *imapconf.File, text string, attrs ...any) {
	a.line(conf, attrs, func(log *slog.Logger) { log.Error(text) })
}

func (a Audit) line(conf *imapconf.File, attrs []any, write func(*slog.Logger)) {
	if a.Tool == "" {
		return
	}
	opt, bad := syslog.FromConfig(conf, a.Tool, os.Getenv("CYRUS_SYSLOG_PREFIX"))
	if bad != nil {
		opt = syslog.Early(a.Tool, os.Getenv("CYRUS_SYSLOG_PREFIX"))
	}
	opt.Path, opt.Fallback = a.Socket, io.Discard
	h := syslog.New(opt)
	defer h.Close()
	log := slog.New(h).With("uid", os.Getuid())
	if by := os.Getenv("SUDO_USER"); by != "" {
		log = log.With("sudo_user", by)
	}
	write(log.With(attrs...))
}
