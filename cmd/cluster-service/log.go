package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// logs are what the peer writes down of itself. Each component, the value of the
// attribute "component" that New functions give their loggers, has a level, which may be
// changed while the peer runs.
type logs struct {
	mu    sync.Mutex
	usual *slog.LevelVar
	of    map[string]*slog.LevelVar // by component
	tails []*tail
}

// tail is somebody who follows what is logged.
type tail struct {
	level slog.Level
	lines chan []byte // those that find no room are left out
}

// tailRoom is how many lines may wait for one who follows.
const tailRoom = 256

func newLogger(w io.Writer, level slog.Level, components map[string]slog.Level) *slog.Logger {
	all := &logs{usual: &slog.LevelVar{}, of: map[string]*slog.LevelVar{}}
	all.usual.Set(level)
	for name, l := range components {
		all.component(name).Set(l)
	}
	text := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}) // the level is checked before
	return slog.New(&logHandler{all, all.usual, text, nil})
}

// logsOf gives the logs that log writes to; one that newLogger has not made has none to
// speak of.
func logsOf(log *slog.Logger) *logs {
	if h, ok := log.Handler().(*logHandler); ok {
		return h.all
	}
	return &logs{usual: &slog.LevelVar{}, of: map[string]*slog.LevelVar{}}
}

// component gives the level of a component: the usual one until it is set.
func (l *logs) component(name string) *slog.LevelVar {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.of[name]
	if !ok {
		v = &slog.LevelVar{}
		v.Set(l.usual.Level())
		l.of[name] = v
	}
	return v
}

// Levels implements proxy.Logs, as do the methods below.
func (l *logs) Levels() map[string]slog.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	levels := map[string]slog.Level{"": l.usual.Level()}
	for name, v := range l.of {
		levels[name] = v.Level()
	}
	return levels
}

func (l *logs) SetLevel(component string, level slog.Level) {
	if component != "" {
		l.component(component).Set(level)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.usual.Set(level)
	for _, v := range l.of {
		v.Set(level)
	}
}

func (l *logs) Tail(ctx context.Context, level slog.Level, f func([]byte) error) error {
	t := &tail{level, make(chan []byte, tailRoom)}
	l.mu.Lock()
	l.tails = append(l.tails, t)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tails = slices.DeleteFunc(l.tails, func(o *tail) bool { return o == t })
	}()
	for {
		select {
		case line := <-t.lines:
			if err := f(line); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// followed tells whether anybody follows records of a level.
func (l *logs) followed(level slog.Level) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.tails, func(t *tail) bool { return level >= t.level })
}

// tell hands a line to those who follow records of its level.
func (l *logs) tell(level slog.Level, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tails {
		if level < t.level {
			continue
		}
		select {
		case t.lines <- line:
		default:
		}
	}
}

// logHandler drops records below the level of their component.
type logHandler struct {
	all   *logs
	level *slog.LevelVar
	text  slog.Handler
	with  []func(slog.Handler) slog.Handler // the attributes and groups, for other forms
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.text.Handle(ctx, r)
	if !h.all.followed(r.Level) {
		return err
	}
	var line lineWriter
	var j slog.Handler = slog.NewJSONHandler(&line, &slog.HandlerOptions{Level: slog.LevelDebug})
	for _, f := range h.with {
		j = f(j)
	}
	err = errors.Join(err, j.Handle(ctx, r))
	h.all.tell(r.Level, line)
	return err
}

// lineWriter keeps what is written.
type lineWriter []byte

func (w *lineWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := h.plus(func(o slog.Handler) slog.Handler { return o.WithAttrs(attrs) })
	for _, a := range attrs {
		if a.Key == "component" {
			next.level = h.all.component(a.Value.String())
		}
	}
	return next
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.plus(func(o slog.Handler) slog.Handler { return o.WithGroup(name) })
}

// plus gives a handler of what f adds.
func (h *logHandler) plus(f func(slog.Handler) slog.Handler) *logHandler {
	return &logHandler{h.all, h.level, f(h.text), append(slices.Clone(h.with), f)}
}
