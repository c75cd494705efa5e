// Package web is what Pinfold's HTTP doors share: listeners, TLS, who may come in,
// the request log, the status of each kind of error, and streams of JSON lines.
//
// A door is an http.Handler whose own handlers return their errors (see Handle) and
// never pick a status. New puts the shared checks in front of it, in this order:
// the log and the answer to panics, fixed headers, the size of the request's head,
// authentication, cross-origin rules, and the redirect of paths that end in a slash.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// headRoom is how many bytes net/http grants a request's head beyond its limit.
	headRoom = 4096
	// shutdownGrace is how long requests in progress may take to end after Run's
	// context has.
	shutdownGrace = 10 * time.Second
)

// Server serves one door on its listeners.
type Server struct {
	o         Options
	log       *slog.Logger
	handler   http.Handler
	door      ErrorWriter // nil where it words no errors
	listeners []net.Listener
	also      []net.Listener // HTTP over libp2p
	requests  *os.File       // the access log, nil without one
}

// New binds the addresses of o and returns a Server of h there. It answers nobody
// before Run. The error is Invalid where o is.
func New(o Options, h http.Handler, log *slog.Logger) (*Server, error) {
	return newServer(o, h, log, Wrap)
}

// NewPlain is New for a door that keeps other protocols' rules: who may come in, what
// pages of other origins may do and what paths mean is its own to say.
func NewPlain(o Options, h http.Handler, log *slog.Logger) (*Server, error) {
	return newServer(o, h, log, func(o Options, h http.Handler, log *slog.Logger, requests *os.File) http.Handler {
		door, _ := h.(ErrorWriter)
		return observe(fixedHeaders(o.Headers, limitHead(o.MaxHeaderBytes+headRoom, h)), door, log, requests)
	})
}

func newServer(o Options, h http.Handler, log *slog.Logger, wrap func(Options, http.Handler, *slog.Logger, *os.File) http.Handler) (*Server, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: log}
	if o.HTTPLogFile != "" {
		f, err := os.OpenFile(o.HTTPLogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the request log: %w", err)
		}
		s.requests = f
	}
	var err error
	if s.listeners, err = listen(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.handler = wrap(o, h, log, s.requests)
	s.door, _ = h.(ErrorWriter)
	return s, nil
}

// Addrs are where the Server listens, in the order of the options, with the real
// port where 0 was asked for.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Also has Run answer on l, too, without TLS. Close closes it.
func (s *Server) Also(l net.Listener) { s.also = append(s.also, l) }

// Run answers requests until ctx ends. Those in progress then have ten seconds
// before their contexts end too.
func (s *Server) Run(ctx context.Context) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           answers(s.handler),
		ReadTimeout:       s.o.ReadTimeout,
		ReadHeaderTimeout: s.o.ReadHeaderTimeout,
		WriteTimeout:      s.o.WriteTimeout,
		IdleTimeout:       s.o.IdleTimeout,
		MaxHeaderBytes:    max(16*s.o.MaxHeaderBytes, 1<<20), // Wrap refuses above MaxHeaderBytes, in JSON
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       withConn,
		ConnState:         idle,
		ErrorLog:          ErrorLog(s.log),
	}
	var serves []func() error
	for _, l := range s.also {
		serves = append(serves, func() error {
			if err := srv.Serve(wordedListener{l, s.door}); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve HTTP over libp2p: %w", err)
			}
			return nil
		})
	}
	for _, l := range s.listeners {
		serves = append(serves, func() error {
			worded := wordedListener{l, s.door}
			serve := func() error { return srv.Serve(worded) }
			if s.o.SSLCertFile != "" {
				serve = func() error { return srv.ServeTLS(worded, s.o.SSLCertFile, s.o.SSLKeyFile) }
			}
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	return Serve(ctx, srv, shutdownGrace, cut, serves...)
}

// Serve runs the ways in which srv takes connections until ctx ends or one of them fails.
// Requests under way then have a grace to end; after it cut is called and their
// connections are closed.
func Serve(ctx context.Context, srv *http.Server, grace time.Duration, cut func(), serves ...func() error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, serve := range serves {
		g.Go(serve)
	}
	g.Go(func() error {
		<-gctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			cut()
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// Close releases the addresses and the log file. Run must have returned, or never
// have been called.
func (s *Server) Close() error {
	var errs []error
	for _, l := range slices.Concat(s.listeners, s.also) {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.requests != nil {
		errs = append(errs, s.requests.Close())
	}
	return errors.Join(errs...)
}

// Wrap puts the shared checks in front of h. Requests are logged at debug level, and
// in Apache's common format to requests where it is not nil.
func Wrap(o Options, h http.Handler, log *slog.Logger, requests *os.File) http.Handler {
	o = o.WithDefaults()
	door, _ := h.(ErrorWriter)
	h = redirectSlash(h)
	h = crossOrigin(o, h)
	h = authenticate(o.Users(), o.Tokens, h)
	h = limitHead(o.MaxHeaderBytes+headRoom, h)
	h = fixedHeaders(o.Headers, h)
	return observe(h, door, log, requests)
}
