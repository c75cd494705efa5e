package consensus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// quietFor is how long a message of raft's is not logged again: a peer that is down
// fails several heartbeats a second for as long as it is.
const quietFor = 10 * time.Second

// An hclogger writes raft's log to slog, one level lower: what is an error to raft, such
// as a peer that does not answer, is none to the operator.
type hclogger struct {
	hclog.Logger // a null logger, for what raft does not use
	log          *slog.Logger
	said         *said
}

// said remembers when each message was last logged.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newHclogger(log *slog.Logger) *hclogger {
	return &hclogger{Logger: hclog.NewNullLogger(), log: log, said: &said{last: make(map[string]time.Time)}}
}

func (h *hclogger) write(level slog.Level, msg string, args []any) {
	if !h.log.Enabled(context.Background(), level) {
		return
	}
	if level >= slog.LevelInfo && !h.said.again(msg) {
		return
	}
	h.log.Log(context.Background(), level, "raft: "+msg, args...)
}

// again tells whether msg may be logged now. Raft has few messages; what varies is in
// their arguments.
func (s *said) again(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last[msg]) < quietFor {
		return false
	}
	s.last[msg] = now
	return true
}

func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		h.Error(msg, args...)
	case hclog.Warn:
		h.Warn(msg, args...)
	case hclog.Info:
		h.Info(msg, args...)
	default:
	}
}

func (h *hclogger) Error(msg string, args ...any) { h.write(slog.LevelWarn, msg, args) }
func (h *hclogger) Warn(msg string, args ...any)  { h.write(slog.LevelInfo, msg, args) }
func (h *hclogger) Info(msg string, args ...any)  { h.write(slog.LevelDebug, msg, args) }
func (h *hclogger) Debug(string, ...any)          {}
func (h *hclogger) Trace(string, ...any)          {}

func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{Logger: h.Logger, log: h.log.With(args...), said: h.said}
}

func (h *hclogger) Named(string) hclog.Logger      { return h }
func (h *hclogger) ResetNamed(string) hclog.Logger { return h }
