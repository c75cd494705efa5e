package main

import (
	"context"
	"io"
	"log/slog"
)

// componentHandler drops records below the level of their component, the value of the
// attribute "component" that New functions give their loggers.
type componentHandler struct {
	slog.Handler
	level      slog.Level
	components map[string]slog.Level
}

func newLogger(w io.Writer, level slog.Level, components map[string]slog.Level) *slog.Logger {
	lowest := level
	for _, l := range components {
		lowest = min(lowest, l)
	}
	text := slog.NewTextHandler(w, &slog.HandlerOptions{Level: lowest})
	return slog.New(&componentHandler{text, level, components})
}

func (h *componentHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *componentHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		if l, ok := h.components[a.Value.String()]; ok && a.Key == "component" {
			next.level = l
		}
	}
	next.Handler = h.Handler.WithAttrs(attrs)
	return &next
}

func (h *componentHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.Handler = h.Handler.WithGroup(name)
	return &next
}
