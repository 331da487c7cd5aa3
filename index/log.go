package index

import (
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog sends Badger's messages to slog; its info messages become debug messages.
type badgerLog struct{ l *slog.Logger }

func (b badgerLog) Errorf(f string, a ...any)   { b.l.Error(line(f, a), "op", "badger") }
func (b badgerLog) Warningf(f string, a ...any) { b.l.Warn(line(f, a), "op", "badger") }
func (b badgerLog) Infof(f string, a ...any)    { b.l.Debug(line(f, a), "op", "badger") }
func (b badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
