package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// What net/http refuses itself, such as a malformed request line, it writes to the
// connection as plain text, before any handler. The listener of a door gives connections
// that word it as the door does: an error status that is written while no handler has
// begun to answer is such a refusal, and nothing else is.

// wordedListener makes its connections wordedConns of door.
type wordedListener struct {
	net.Listener
	door ErrorWriter
}

func (l wordedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wordedConn{Conn: c, door: l.door}, nil
}

// wordedConn is a connection of a door. Below TLS it is that of the records, of which
// none looks like HTTP: there it words what is said to a client that speaks no TLS.
type wordedConn struct {
	net.Conn
	door     ErrorWriter // nil: errors are as ever
	answered atomic.Bool // by a handler: what is written is its own
}

// CloseWrite lets net/http end an answer without a reset, as *net.TCPConn does.
func (c *wordedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write implements net.Conn. net/http writes a refusal as a whole.
func (c *wordedConn) Write(p []byte) (int, error) {
	if c.answered.Load() {
		return c.Conn.Write(p)
	}
	e := refusalOf(p)
	if e == nil {
		return c.Conn.Write(p)
	}
	s := sheet{header: http.Header{}}
	WriteError(&recorder{ResponseWriter: &s, door: c.door}, e)
	if _, err := c.Conn.Write(s.bytes()); err != nil {
		return 0, err
	}
	c.linger()
	return len(p), nil
}

// linger reads on for a second, as Handle does: what is closed unread is reset, and the
// client may not see the answer.
func (c *wordedConn) linger() {
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingering)) == nil {
		_, _ = io.Copy(io.Discard, c.Conn)
	}
}

// refusalOf reads what net/http says to a client before any handler, such as "HTTP/1.1 400
// Bad Request: malformed Host header\r\n...". It is nil for what is no error.
func refusalOf(p []byte) *api.Error {
	head, text, _ := bytes.Cut(p, []byte("\r\n\r\n"))
	line, _, _ := strings.Cut(string(head), "\r\n")
	proto, status, _ := strings.Cut(line, " ")
	digits, reason, _ := strings.Cut(status, " ")
	code, err := strconv.Atoi(digits)
	if !strings.HasPrefix(proto, "HTTP/1.") || err != nil || code < 400 || code > 599 {
		return nil
	}
	if code >= 500 {
		code = http.StatusBadRequest // it is the client's fault: an unknown protocol or transfer encoding
	}
	_, about, told := strings.Cut(reason, ": ")
	if rest := strings.TrimSpace(string(text)); !told && rest != "" && rest != status {
		about = rest
	} else if !told {
		about = advice[code]
	}
	return &api.Error{Code: code, Message: strings.ToLower(http.StatusText(code)) + ": " + oneLine(about)}
}

// advice is for the refusals of which net/http tells the status only.
var advice = map[int]string{
	http.StatusBadRequest:                  "the request line or a header is no valid HTTP, or did not come in time",
	http.StatusExpectationFailed:           "all that can be expected is 100-continue",
	http.StatusRequestHeaderFieldsTooLarge: "send fewer or shorter headers, or a shorter address",
}

// sheet takes down an answer.
type sheet struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (s *sheet) Header() http.Header         { return s.header }
func (s *sheet) WriteHeader(status int)      { s.status = status }
func (s *sheet) Write(p []byte) (int, error) { return s.body.Write(p) }

// bytes are those of the answer, after which the connection closes.
func (s *sheet) bytes() []byte {
	s.header.Set("Connection", "close")
	s.header.Set("Content-Length", strconv.Itoa(s.body.Len()))
	s.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", s.status, http.StatusText(s.status))
	_ = s.header.Write(&b) // memory takes all
	b.WriteString("\r\n")
	b.Write(s.body.Bytes())
	return b.Bytes()
}

type connKey struct{}

// withConn lets handlers find their connection, and spoil it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(withSpoiling(ctx), connKey{}, c)
}

// answers marks the connection of a request as answered by next.
func answers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoiled(r) {
			panic(http.ErrAbortHandler)
		}
		if c, ok := r.Context().Value(connKey{}).(*wordedConn); ok {
			c.answered.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

// idle takes the mark of answers off once an answer is written and flushed.
func idle(c net.Conn, s http.ConnState) {
	if c, ok := c.(*wordedConn); ok && s == http.StateIdle {
		c.answered.Store(false)
	}
}
