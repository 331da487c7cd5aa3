package main

import (
	"log/slog"
	"os"

	"backupd/internal/imapconf"
)

// newLogger returns where service logs to. conf is nil before the configuration is read.
func newLogger(service string, conf *imapconf.File) *slog.Logger {
	level := slog.LevelInfo
	if conf != nil && conf.Switch("debug") {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With(slog.String("service", service))
}
