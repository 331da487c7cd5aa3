package backupd

import (
	"log/slog"
	"os"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/syslog"
)

// logFaults makes log the place for what libraries write with package log: Badger does so
// before it ends the process.
func logFaults(log *slog.Logger) {
	slog.SetLogLoggerLevel(slog.LevelError)
	slog.SetDefault(log)
}

// newLogger returns where service logs to: syslog, and standard error where there is
// none. conf is nil before the configuration is read; a facility in it that is not
// one was refused by newService or will be.
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
