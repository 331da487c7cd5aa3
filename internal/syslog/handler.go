package syslog

import (
	"context"
	"log/slog"
	"strings"
)

// Handler is a slog.Handler. It is safe for concurrent use; copies made by WithAttrs and
// WithGroup share one socket.
type Handler struct {
	out    *writer
	level  slog.Leveler
	prefix string // of keys: the open groups, each followed by a dot
	attrs  string // formatted attributes of WithAttrs
}

// New returns a handler. It connects with the first message.
func New(opt Options) *Handler {
	level := opt.Level
	if level == nil {
		level = slog.LevelInfo
	}
	return &Handler{out: newWriter(opt), level: level}
}

// Close closes the socket. A later message opens it again.
func (h *Handler) Close() error { return h.out.close() }

// Dropped returns the number of lost messages.
func (h *Handler) Dropped() uint64 { return h.out.dropped.Load() }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle writes one message. It returns no error, because callers of slog ignore it.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(oneLine(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.prefix, a)
		return true
	})
	h.out.write(severity(r.Level), b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&b, h.prefix, a)
	}
	c := *h
	c.attrs = b.String()
	return &c
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}
