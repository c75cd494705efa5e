package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"testing"
)

func TestLogger_LevelsAreThoseOfComponents(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelInfo, map[string]slog.Level{"loud": slog.LevelDebug})
	all := logsOf(log)
	quiet, loud := log.With("component", "quiet"), log.With("component", "loud")
	for _, step := range []struct {
		what   string
		change func()
		want   string
	}{
		{"as set at the start", func() {}, "loud"},
		{"one changed", func() { all.SetLevel("quiet", slog.LevelDebug) }, "loud quiet"},
		{"all changed", func() { all.SetLevel("", slog.LevelWarn) }, ""},
		{"all changed back", func() { all.SetLevel("", slog.LevelDebug) }, "log loud quiet"},
	} {
		step.change()
		out.Reset()
		log.Debug("log")
		loud.Debug("loud")
		quiet.Debug("quiet")
		var got []string
		for line := range strings.Lines(out.String()) {
			_, rest, _ := strings.Cut(line, "msg=")
			got = append(got, strings.Fields(rest)[0])
		}
		if strings.Join(got, " ") != step.want {
			t.Errorf("%s: got %v, want %q", step.what, got, step.want)
		}
	}
}

// Who follows the log gets its records as JSON, and holds up nobody.
func TestLogger_Tail(t *testing.T) {
	log := newLogger(&bytes.Buffer{}, slog.LevelInfo, nil)
	all := logsOf(log)
	ctx, stop := context.WithCancel(t.Context())
	lines, ended := make(chan []byte), make(chan error, 1)
	go func() {
		ended <- all.Tail(ctx, slog.LevelWarn, func(line []byte) error {
			select {
			case lines <- line:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	for !all.followed(slog.LevelWarn) {
		runtime.Gosched()
	}
	log.Info("below the level")
	for range 3 * tailRoom {
		log.With("component", "c").WithGroup("g").Warn("hello", "k", "v")
	}
	var got struct {
		Msg, Component string
		G              struct{ K string }
	}
	if err := json.Unmarshal(<-lines, &got); err != nil || got.Msg != "hello" || got.Component != "c" || got.G.K != "v" {
		t.Errorf("got %+v, %v", got, err)
	}
	stop()
	if err := <-ended; err != nil || all.followed(slog.LevelError) {
		t.Errorf("after the end: %v, followed: %v", err, all.followed(slog.LevelError))
	}
}
