package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
)

var logCommands = []*command{
	{path: "log"},
	{path: "log/ls", run: (*call).logLs},
	{path: "log/level", run: (*call).logLevel, args: []argument{{name: "subsystem", optional: true}, {name: "level", optional: true}}},
	{path: "log/tail", run: (*call).logTail, endless: true, options: []option{opt(text, "log-level").or("")}},
}

// levels are what Kubo calls those of slog; its three above error are one here.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	"dpanic": slog.LevelError, "panic": slog.LevelError, "fatal": slog.LevelError}

func parseLevel(s string) (slog.Level, error) {
	l, ok := levels[s]
	if !ok {
		return 0, api.Invalid.Errorf("unrecognized level: %q", s)
	}
	return l, nil
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

type logLevels struct {
	Levels  map[string]string `json:",omitempty"`
	Message string            `json:",omitempty"`
}

func (c *call) logLs() error {
	names := slices.Sorted(maps.Keys(c.Logs.Levels()))
	return c.once(stringList{slices.DeleteFunc(names, func(s string) bool { return s == "" })})
}

// logLevel tells levels, or sets one. "default" as a level is that of what has no level
// of its own.
func (c *call) logLevel() error {
	component := ""
	if len(c.args) > 0 {
		component = c.args[0]
	}
	all := component == "all" || component == "*"
	now := c.Logs.Levels()
	if len(c.args) > 1 && c.args[1] != "" {
		return c.setLogLevel(component, all, now)
	}
	out := logLevels{Levels: map[string]string{}}
	switch _, ok := now[component]; {
	case all:
		for name, l := range now {
			if name == "" {
				name = "(default)"
			}
			out.Levels[name] = levelName(l)
		}
	case ok:
		out.Levels[component] = levelName(now[component])
	default:
		return errNoLogger
	}
	return c.once(out)
}

var errNoLogger = api.NotFound.Errorf("error: No such logger")

func (c *call) setLogLevel(component string, all bool, now map[string]slog.Level) error {
	name := c.args[1]
	if name == "default" {
		name = levelName(now[""])
	}
	l, err := parseLevel(name)
	if err != nil {
		return err
	}
	if _, ok := now[component]; !all && (!ok || component == "") {
		return errNoLogger
	}
	told := component
	if all {
		component, told = "", "*"
	}
	c.Logs.SetLevel(component, l)
	c.log.Info("log level changed", "of", told, "to", name)
	return c.once(logLevels{Message: fmt.Sprintf("Changed log level of '%s' to '%s'\n", told, name)})
}

// logTail sends what is logged until the client goes.
func (c *call) logTail() error {
	l := slog.LevelDebug
	if s := c.text("log-level"); s != "" {
		var err error
		if l, err = parseLevel(s); err != nil {
			return fmt.Errorf("setting log level %s: %w", s, err)
		}
	}
	a := c.answer
	a.begun = true
	h := a.header()
	h.Set("X-Stream-Output", "1")
	h.Set("Content-Type", "text/plain")
	a.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(a.w)
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return c.Logs.Tail(c.ctx, l, func(line []byte) error { return a.writeNow(rc, line, true) })
}
