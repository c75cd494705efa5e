package main

import (
	"context"
	"log/slog"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"go.uber.org/zap/zapcore"
)

// libraryLogs has log write what libp2p and boxo tell of themselves, as warnings at most:
// what matters to a peer its own parts tell. Which of it there is GOLOG_LOG_LEVEL says, as
// in other programs that are made of them; by default errors alone. It counts for the
// whole process, and for parts of libp2p that have logged before not any more.
func libraryLogs(log *slog.Logger) {
	h := libraryHandler{log.With("component", "libraries").Handler(), gologshim.ConfigFromEnv().LevelForSystem("")}
	gologshim.SetDefaultHandler(h)
	golog.SetPrimaryCore(libraryCore{h})
}

// libraryHandler takes the records of libraries, each of which names its part as "logger".
type libraryHandler struct {
	slog.Handler
	least slog.Level
}

func (h libraryHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.least }

// Handle implements slog.Handler.
func (h libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelWarn)
	return h.Handler.Handle(ctx, r)
}

func (h libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "logger" {
			h.least = gologshim.ConfigFromEnv().LevelForSystem(a.Value.String())
		}
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h libraryHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// libraryCore takes what go-log's loggers, whose levels have let it pass, would write.
type libraryCore struct{ to slog.Handler }

func (libraryCore) Enabled(zapcore.Level) bool { return true }
func (libraryCore) Sync() error                { return nil }

// With implements zapcore.Core, as do the methods below.
func (c libraryCore) With(fields []zapcore.Field) zapcore.Core {
	return libraryCore{c.to.WithAttrs(attrsOf(fields))}
}

func (c libraryCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, c)
}

func (c libraryCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.Level(4 * e.Level) // which are one apart with zap
	r := slog.NewRecord(e.Time, level, e.Message, 0)
	r.AddAttrs(slog.String("logger", e.LoggerName))
	r.AddAttrs(attrsOf(fields)...)
	return c.to.Handle(context.Background(), r)
}

func attrsOf(fields []zapcore.Field) (attrs []slog.Attr) {
	for _, f := range fields {
		values := zapcore.NewMapObjectEncoder()
		f.AddTo(values)
		for name, value := range values.Fields {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	return attrs
}
