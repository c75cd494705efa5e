package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a client may take for one write, of 32 KiB at most: one that
// reads slower than that is cut off.
const writeTimeout = 30 * time.Second

// listener gives connections that can be cut.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, since: time.Now()}, nil
}

// conn is a client's connection. A write that takes longer than writeTimeout fails.
type conn struct {
	net.Conn
	isCut atomic.Bool

	since time.Time // of the last request's end; at first, of the connection. Guarded by conns.mu.
	busy  bool      // with a request whose head has been read. Guarded by conns.mu.
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	if c.isCut.Load() { // after the deadline: cut sets one that has passed
		return 0, errGaveWay
	}
	return c.Conn.Write(p)
}

// cut fails the write in progress and all later ones.
func (c *conn) cut() {
	c.isCut.Store(true)
	c.SetWriteDeadline(time.Now()) // fails on a closed connection only
}

// CloseWrite lets net/http tell a client that it refuses of it before it hangs up.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// conns bounds the connections: where there are too many, the one that has been without
// a request for longest goes, and where all have one, the newest.
type conns struct {
	max int

	mu   sync.Mutex
	open map[*conn]struct{}
}

type connKey struct{}

func newConns(n int) *conns { return &conns{max: n, open: map[*conn]struct{}{}} }

// context is a http.Server's ConnContext.
func (a *conns) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// state is a http.Server's ConnState.
func (a *conns) state(nc net.Conn, s http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch s {
	case http.StateNew:
		a.open[c] = struct{}{}
		if len(a.open) > a.max {
			victim := a.longestIdle()
			delete(a.open, victim)
			victim.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(a.open, c)
	}
}

func (a *conns) longestIdle() *conn {
	var victim *conn
	for c := range a.open {
		if !c.busy && (victim == nil || c.since.Before(victim.since)) {
			victim = c
		}
	}
	return victim // there is one: the newest has no request yet
}

// mark tells which connections have a request.
func (a *conns) mark(h http.Handler) http.Handler {
	set := func(c *conn, busy bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		c.busy, c.since = busy, time.Now()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			set(c, true)
			defer set(c, false)
		}
		h.ServeHTTP(w, r)
	})
}
