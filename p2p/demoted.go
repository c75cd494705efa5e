package p2p

import (
	"context"
	"log/slog"
)

// demoted is a log of what strangers make a library say: as many lines as they like.
func demoted(log *slog.Logger) *slog.Logger { return slog.New(demotion{log.Handler()}) }

type demotion struct{ slog.Handler }

// Enabled implements slog.Handler.
func (d demotion) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (d demotion) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (d demotion) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demotion{d.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (d demotion) WithGroup(name string) slog.Handler { return demotion{d.Handler.WithGroup(name)} }
