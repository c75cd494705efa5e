// Package client is the Go client of Pinfold's REST API.
//
// A method is one request. What the peer refuses comes back as an *api.Error with
// the HTTP status in Code; what never got an answer (no connection, a broken stream,
// a context's end) comes back as the error of the transport. Lists are sequences
// read from the connection as they are ranged over; leaving the loop closes it.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	dialTimeout = 10 * time.Second
	idleConns   = 256         // kept open per endpoint
	idleTimeout = time.Minute // shorter than the server's, so that it never closes first
	maxErrBody  = 64 << 10    // of a failed request's answer, in bytes
)

// Options say how to reach a peer. The zero value is plain HTTP without credentials.
type Options struct {
	Username string
	Password string
	// Token is sent in place of a user and password.
	Token string
	// Secret is that of the swarm, 32 bytes: for libp2p addresses of peers' cluster hosts.
	Secret []byte
	// TLS, where not nil, is used for all addresses, those that do not say https too.
	TLS *tls.Config
	// Timeout bounds each request, its answer included; 0 is no limit.
	Timeout time.Duration
	// Log, where not nil, is told at debug level of each request: its status, and the
	// time until the answer began.
	Log *slog.Logger
}

// Client asks one peer, or the first that can be reached of several. It is safe for
// concurrent use.
type Client struct {
	endpoints []endpoint
	o         Options
}

// New returns a Client for addr: a URL ("http://host:9094", "unix:/path"), a multiaddr
// ("/dns4/host/tcp/9094", "/unix/path", ".../p2p/ID" for HTTP over libp2p), "host:port",
// or several of them with commas between. The next one is asked where no connection to
// one can be made. "" is DefaultAddress. The error is Invalid.
func New(addr string, o Options) (*Client, error) {
	if addr == "" {
		addr = DefaultAddress
	}
	c := &Client{o: o}
	for _, a := range strings.Split(addr, ",") {
		e, err := parseEndpoint(strings.TrimSpace(a), o)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.endpoints = append(c.endpoints, e)
	}
	return c, nil
}

// Close lets go of idle connections.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.http.CloseIdleConnections()
		if e.host != nil {
			_ = e.host.Close() // a host that has not listened leaves nothing behind
		}
	}
}

// request is one call. Body, where not nil, is read once.
type request struct {
	method      string
	path        string // escaped
	query       url.Values
	body        io.Reader
	contentType string
}

// do sends r and returns an answer that says it is done; the caller closes its body.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	var last error
	for _, e := range c.endpoints {
		res, err := c.ask(ctx, e, r)
		if err == nil {
			return res, nil
		}
		last = err
		if !unreached(err) || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// unreached tells whether err means that no connection was made, so nothing was sent.
func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *Client) ask(ctx context.Context, e endpoint, r request) (*http.Response, error) {
	target := e.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		body = io.NopCloser(r.body) // the transport must not close it: another endpoint may need it
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	switch {
	case c.o.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	case c.o.Username != "" || c.o.Password != "":
		req.SetBasicAuth(c.o.Username, c.o.Password)
	}
	began := time.Now()
	res, err := e.http.Do(req)
	if c.o.Log != nil {
		c.o.Log.DebugContext(ctx, "request", "method", r.method, "url", target, "status", statusOf(res), "took", time.Since(began), "err", err)
	}
	if err != nil {
		return nil, err
	}
	// 202 tells of a change that was made and cannot be seen yet.
	if res.StatusCode/100 != 2 || res.StatusCode == http.StatusAccepted {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}

// statusOf is that of an answer, 0 for none.
func statusOf(res *http.Response) int {
	if res == nil {
		return 0
	}
	return res.StatusCode
}

// refusal reads the error that a failed request was answered with. A body that is
// not the API's own is the message.
func refusal(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxErrBody))
	if err != nil {
		return fmt.Errorf("read the answer %q: %w", res.Status, err)
	}
	e := new(api.Error)
	if json.Unmarshal(text, e) == nil && e.Code != 0 {
		return e
	}
	message := string(bytes.TrimSpace(text))
	if message == "" {
		message = res.Status
	}
	return &api.Error{Code: res.StatusCode, Message: message}
}

// call sends r and decodes the one object of its answer into v, nil for none. It
// returns the log index that a write's answer carries, else 0.
func (c *Client) call(ctx context.Context, r request, v any) (uint64, error) {
	res, err := c.do(ctx, r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if v != nil {
		if err := json.NewDecoder(res.Body).Decode(v); err != nil {
			return 0, fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err)
		}
	}
	// An unread byte would cost the connection.
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxErrBody)); err != nil {
		return 0, fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err)
	}
	index, err := strconv.ParseUint(res.Header.Get(api.IndexHeader), 10, 64)
	if err != nil {
		index = 0 // not a write
	}
	return index, nil
}
