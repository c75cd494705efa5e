package web

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	door   ErrorWriter // nil: errors are as ever
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets an http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe logs requests and answers those whose handler panics. Errors are worded by
// door, where it is not nil.
func observe(next http.Handler, door ErrorWriter, log *slog.Logger, requests *os.File) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, door: door}
		start := time.Now()
		defer func() {
			fault := recover()
			if fault == http.ErrAbortHandler {
				panic(fault)
			}
			if fault != nil {
				log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "err", fault, "stack", string(debug.Stack()))
				if rec.status != 0 {
					panic(http.ErrAbortHandler) // an answer has begun: break it off
				}
				WriteError(rec, api.Internal.Errorf("internal error"))
			}
			log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "bytes", rec.bytes,
				"took", time.Since(start), "remote", r.RemoteAddr)
			if requests != nil {
				if _, err := requests.WriteString(commonLog(r, rec, start)); err != nil {
					log.Warn("cannot write the request log", "err", err)
				}
			}
		}()
		next.ServeHTTP(rec, r)
		if r.ContentLength != 0 { // net/http waits for what is left of the body
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadBody))
		}
	})
}

// commonLog is a line of Apache's common log format.
func commonLog(r *http.Request, rec *recorder, start time.Time) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	user, _, ok := r.BasicAuth()
	if !ok || user == "" {
		user = "-"
	}
	return fmt.Sprintf("%s - %s [%s] \"%s %s %s\" %d %d\n", host, quoted(user), start.Format("02/Jan/2006:15:04:05 -0700"),
		r.Method, quoted(r.RequestURI), r.Proto, rec.status, rec.bytes)
}

// quoted escapes what could break a log line.
func quoted(s string) string {
	return strings.Trim(fmt.Sprintf("%q", s), `"`)
}

func fixedHeaders(headers map[string][]string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Vary"] = []string{"Origin"}
		for name, values := range headers {
			for _, v := range values {
				h.Add(name, v)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// limitHead refuses a request whose line and headers are over limit bytes.
func limitHead(limit int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := len(r.Method) + len(r.RequestURI) + len(r.Proto) + len(r.Host)
		for name, values := range r.Header {
			for _, v := range values {
				size += len(name) + len(v) + 4 // ": " and the line's end
			}
		}
		if size > limit {
			WriteError(w, &api.Error{Code: http.StatusRequestHeaderFieldsTooLarge, Message: "the request's address and headers are too large"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// redirectSlash sends a path that ends in a slash to the one without.
func redirectSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if len(path) < 2 || path[len(path)-1] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		// Two slashes at the start would lead to another host.
		to := "/" + strings.TrimLeft(path[:len(path)-1], `/\`)
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	})
}
