package backupd

import (
	"log/slog"
	"os"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/syslog"
)

// logFaults redirects package log to log. Badger writes there before it ends the process.
func logFaults(log *slog.Logger) {
	slog.SetLogLoggerLevel(slog.LevelError)
	slog.SetDefault(log)
}

// newLogger returns the logger of a service: syslog, or standard error if there is no syslog.
// conf is nil before the configuration is read. newService reports an invalid facility.
func newLogger(service string, conf *imapconf.File) *slog.Logger {
	prefix := os.Getenv("CYRUS_SYSLOG_PREFIX")
	opt := syslog.Early(service, prefix)
	if conf != nil {
		if o, err := syslog.FromConfig(conf, service, prefix); err == nil {
			opt = o
		}
	}
	return slog.New(syslog.New(opt))
}
