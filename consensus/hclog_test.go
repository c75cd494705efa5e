package consensus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHclogger_OneLevelLowerAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := newHclogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
		for range 50 {
			h.With("peer", "p").Error("failed to heartbeat to", "error", "down")
		}
		h.Warn("stepping down")
		h.Info("entering follower state")
		if n := strings.Count(out.String(), "failed to heartbeat to"); n != 1 {
			t.Errorf("a message repeated 50 times was logged %d times", n)
		}
		if s := out.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "peer=p") || !strings.Contains(s, "level=INFO msg=\"raft: stepping down") {
			t.Errorf("logged:\n%s", s)
		}
		if strings.Contains(out.String(), "entering") {
			t.Error("raft's Info is shown at Info")
		}
		time.Sleep(quietFor)
		h.Error("failed to heartbeat to")
		if n := strings.Count(out.String(), "failed to heartbeat to"); n != 2 {
			t.Errorf("later it was logged %d times in all, want 2", n)
		}
	})
}
