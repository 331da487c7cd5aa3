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
	prefix string // of keys: the open groups, each with a dot
	attrs  string // of WithAttrs, written out
}

// New makes a handler. It connects when there is something to log.
func New(opt Options) *Handler {
	level := opt.Level
	if level == nil {
		level = slog.LevelInfo
	}
	return &Handler{out: newWriter(opt), level: level}
}

// Close closes the socket. What is logged later opens it again.
func (h *Handler) Close() error { return h.out.close() }

// Dropped is the number of messages that nobody got.
func (h *Handler) Dropped() uint64 { return h.out.dropped.Load() }

// Enabled is for slog.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle writes one message. It returns no error: there is nobody to tell.
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

// WithAttrs is for slog.
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

// WithGroup is for slog.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}
