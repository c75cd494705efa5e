package web

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ErrorLog is for an http.Server: what that says of its clients is logged at debug level,
// a panic, which is a fault of ours, as an error.
func ErrorLog(to *slog.Logger) *log.Logger { return log.New(serverWords{to}, "", 0) }

type serverWords struct{ log *slog.Logger }

// Write implements io.Writer for one message of an http.Server.
func (w serverWords) Write(message []byte) (int, error) {
	text, level := strings.TrimSuffix(string(message), "\n"), slog.LevelDebug
	for _, panicked := range []string{"http: panic serving ", "http2: panic serving "} { // net/http has text alone
		if strings.HasPrefix(text, panicked) {
			level = slog.LevelError
		}
	}
	w.log.Log(context.Background(), level, text)
	return len(message), nil
}
