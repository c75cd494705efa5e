package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// askTimeout bounds the questions to the daemon that come before an answer.
const askTimeout = 10 * time.Second

// daemon is the Kubo daemon behind the proxy.
type daemon struct {
	base   *url.URL
	origin string // of pages that the daemon itself serves
	client *http.Client
	pass_  *httputil.ReverseProxy
	o      Options
	log    *slog.Logger

	mu      sync.Mutex
	headers http.Header // those that answers take over
	asked   time.Time
}

func newDaemon(addr string, o Options, log *slog.Logger) (*daemon, error) {
	network, host, err := dialArgs(addr)
	if err != nil {
		return nil, api.Invalid.Errorf("the Kubo daemon: %w", err)
	}
	dialer := &net.Dialer{Timeout: askTimeout}
	t := &http.Transport{IdleConnTimeout: time.Minute, TLSHandshakeTimeout: askTimeout, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, host)
		}}
	d := &daemon{base: &url.URL{Scheme: "http", Host: host}, client: &http.Client{Transport: t}, o: o, log: log}
	if network == "unix" {
		d.base.Host = "localhost"
	}
	if o.NodeHTTPS {
		d.base.Scheme = "https"
	}
	d.origin = d.base.String()
	d.pass_ = &httputil.ReverseProxy{Rewrite: d.rewrite, ModifyResponse: modify, Transport: t, FlushInterval: -1,
		ErrorHandler: d.fail, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return d, nil
}

// originKey is where a request's context has the origin that was replaced by the
// daemon's own.
type originKey struct{}

// pass hands a request to the daemon as it is, and its answer back. A page that is let
// in here is to the daemon as one of its own.
func (d *daemon) pass(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		d.fail(w, r, err)
		return
	}
	if r.Body != nil && r.Body != http.NoBody {
		in := web.NewBody(w, r)
		defer context.AfterFunc(r.Context(), in.Stop)()
		body := &upload{Body: in, whole: r.Body}
		defer body.end()
		// A request of our own: from the body of its own net/http learns whether all of it
		// was read, without which what is left would be taken for the next request.
		r = r.WithContext(context.WithValue(r.Context(), uploadKey{}, body))
		r.Body = body
	}
	if origin := r.Header.Get("Origin"); slices.Contains(d.o.origins(r), origin) {
		r = r.WithContext(context.WithValue(r.Context(), originKey{}, origin))
	}
	d.pass_.ServeHTTP(w, r)
}

// upload is a client's body on its way to the daemon. It keeps the fault that it broke off
// with: what the transport makes of that is now this, now an end of the request.
type upload struct {
	*web.Body
	whole io.Closer // net/http's
	fault atomic.Pointer[api.Error]

	mu    sync.Mutex // held while it is read
	ended bool
}

// lastRead is how long what is left of a body may take once the daemon has answered.
const lastRead = time.Second

// end returns once nobody reads the body any more: the transport goes on with it after an
// answer that came before its end, and net/http is about to read the next request there.
// It closes the body as net/http does, for which it is too late after a handler in full
// duplex: it reads ahead at the end of a body, and panics.
func (u *upload) end() {
	stop := time.AfterFunc(lastRead, u.Stop)
	defer stop.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	if u.whole.Close() != nil {
		u.Spoil()
	}
}

func (u *upload) Close() error { return nil }

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return 0, errors.New("the request has been answered")
	}
	n, err := u.Body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.fault.Store(web.ErrorOf(err))
	}
	return n, err
}

// uploadKey is where a request's context has its upload.
type uploadKey struct{}

func (d *daemon) rewrite(p *httputil.ProxyRequest) {
	p.SetURL(d.base)
	p.Out.URL.RawQuery = p.In.URL.RawQuery // also what net/url cannot read
	if p.In.Context().Value(originKey{}) != nil {
		p.Out.Header.Set("Origin", d.origin)
		if p.In.Referer() != "" {
			p.Out.Header.Set("Referer", d.origin+"/")
		}
	}
}

func modify(res *http.Response) error {
	if origin, ok := res.Request.Context().Value(originKey{}).(string); ok && res.Header.Get("Access-Control-Allow-Origin") != "" {
		res.Header.Set("Access-Control-Allow-Origin", origin)
	}
	return nil
}

// fail answers for a daemon that does not, or that was not to be asked to the end as the
// client's body broke off.
func (d *daemon) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := api.Error{Code: http.StatusBadGateway, Message: "the IPFS daemon does not answer: " + err.Error()}
	if up, ok := r.Context().Value(uploadKey{}).(*upload); ok && up.fault.Load() != nil {
		e = *up.fault.Load()
		w.Header().Set("Connection", "close")
	} else if hungUp(err) {
		e = api.Error{Code: http.StatusInternalServerError, Message: "the IPFS daemon ended the connection before it had all of the request: it may have refused the command"}
	} else if r.Context().Err() == nil {
		d.log.Warn("the Kubo daemon does not answer", "path", r.URL.Path, "err", err)
	}
	new(handler).WriteError(w, &e)
}

// hungUp tells an error of a connection that the daemon ended while it was sent something:
// of the write, or of one after its end was read.
func hungUp(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// admit answers requests that are not to be served, as the function of that name does.
func (d *daemon) admit(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		refuseMethod(w)
		return false
	}
	told, ok := d.judge(r)
	for name, values := range told {
		w.Header()[name] = values
	}
	if !ok {
		http.Error(w, "403 - Forbidden", http.StatusForbidden)
		return false
	}
	if r.Header.Get("Origin") != "" || r.Referer() != "" || len(d.o.ExtractHeadersExtra) > 0 {
		d.takeOver(r.Context(), w.Header())
	}
	w.Header().Set("Server", "pinfold")
	return true
}

// judge tells whether a request is to be served, and what to tell the page that it comes
// from. Which other origins' pages are let in is the daemon's to say.
func (d *daemon) judge(r *http.Request) (told http.Header, ok bool) {
	origins := d.o.origins(r)
	origin := r.Header.Get("Origin")
	if origin == "" && r.Referer() != "" {
		if u, err := url.Parse(r.Referer()); err == nil {
			origin = u.Scheme + "://" + u.Host
		}
	}
	switch {
	case origin == "":
	case slices.Contains(origins, origin):
		told = http.Header{"Access-Control-Allow-Origin": {origin}}
	default:
		if told = d.allows(r, origin); told != nil {
			origins = append(origins, origin)
		}
	}
	return told, !suspicious(r, origins)
}

// allows asks the daemon whether pages of origin may ask this, and gives what it says to
// them; nil where they may not.
func (d *daemon) allows(r *http.Request, origin string) http.Header {
	res, err := d.ask(r.Context(), http.MethodOptions, r.URL.Path, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {http.MethodPost}})
	if err != nil {
		d.log.Warn("the Kubo daemon does not tell which origins it allows", "err", err)
		return nil
	}
	allowed := res.Get("Access-Control-Allow-Origin")
	if allowed != "*" && allowed != origin {
		return nil
	}
	told := http.Header{}
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"} {
		if values := res.Values(name); len(values) > 0 {
			told[name] = values
		}
	}
	return told
}

// ask sends a request without a body and returns the headers of its answer.
func (d *daemon) ask(ctx context.Context, method, path string, header http.Header) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	u := *d.base
	u.Path = path
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	return res.Header, res.Body.Close()
}

// takeOver adds the headers that the daemon gives all its answers.
func (d *daemon) takeOver(ctx context.Context, h http.Header) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.headers == nil || time.Since(d.asked) > d.o.ExtractHeadersTTL {
		got, err := d.ask(ctx, http.MethodPost, d.o.ExtractHeadersPath, http.Header{})
		if err != nil {
			d.log.Warn("the Kubo daemon's headers are not to be had", "err", err)
			return
		}
		d.headers, d.asked = http.Header{}, time.Now()
		for _, name := range append([]string{"Access-Control-Expose-Headers"}, d.o.ExtractHeadersExtra...) {
			if values := got.Values(name); len(values) > 0 {
				d.headers[http.CanonicalHeaderKey(name)] = values
			}
		}
	}
	for name, values := range d.headers {
		h[name] = values
	}
}

// unpinned tells whether a request to put blocks is the daemon's alone.
func unpinned(q url.Values) bool {
	if !q.Has("pin") {
		return true
	}
	pin, err := opt(boolean, "pin").parse(q.Get("pin"))
	return err != nil || pin == false
}

// putThrough has the daemon put what the request says, and pins in the cluster what it
// answers. The daemon's own pin keeps the blocks until the cluster's does.
func (c *call) putThrough(key func(line []byte) (cid.Cid, error)) error {
	u := *c.daemon.base
	u.Path, u.RawQuery = c.r.URL.Path, c.query
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, u.String(), io.NopCloser(c.in))
	if err != nil {
		return err
	}
	req.ContentLength = c.r.ContentLength
	req.Header.Set("Content-Type", c.r.Header.Get("Content-Type"))
	res, err := c.daemon.client.Do(req)
	if err != nil {
		return api.Unavailable.Errorf("the IPFS daemon does not answer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return daemonError(res)
	}
	lines := json.NewDecoder(res.Body)
	for {
		var line json.RawMessage
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return api.Unavailable.Errorf("read the IPFS daemon's answer: %w", err)
		}
		x, err := key(line)
		if err != nil {
			return err
		}
		if err := c.pin(x, api.PinRecursive, "", c.Self); err != nil {
			return err
		}
		if err := c.emit(line); err != nil {
			return err
		}
	}
	if text := res.Trailer.Get(api.StreamErrorTrailer); text != "" {
		return errors.New(text)
	}
	return nil
}

// daemonError is what the daemon says in an answer that is none.
func daemonError(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	var f failed
	if json.Unmarshal(body, &f) == nil && f.Message != "" {
		return errors.New(f.Message)
	}
	return errors.New(strings.TrimSpace(string(body)))
}

// keyOf reads a line of block/put, cidOf one of dag/put.
func keyOf(line []byte) (cid.Cid, error) {
	var l blockLine
	if err := json.Unmarshal(line, &l); err != nil {
		return cid.Undef, err
	}
	return cid.Decode(l.Key)
}

func cidOf(line []byte) (cid.Cid, error) {
	var l struct{ Cid link }
	if err := json.Unmarshal(line, &l); err != nil {
		return cid.Undef, err
	}
	return cid.Decode(l.Cid.Cid)
}
