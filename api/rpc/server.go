package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	headerTimeout = 10 * time.Second
	maxHeader     = 8 << 10 // bytes
	// serverIdle is longer than clientIdle: a server that ends an unused stream just as
	// a call begins would leave that call's outcome unknown.
	serverIdle = 5 * time.Minute
	// shutdownGrace is what calls in progress get when the server stops.
	shutdownGrace = 5 * time.Second
)

// Listener is what a Server asks of the network.
type Listener interface {
	// ListenOpen takes streams of everybody; RemoteAddr is the peer ID.
	ListenOpen(protocol string) (net.Listener, error)
	// Check returns nil for a certified member. Its error wraps fs.ErrPermission where the
	// peer is known to be none.
	Check(ctx context.Context, p api.PeerID) error
}

// Server answers the calls of other peers.
type Server struct {
	net Listener
	mux *http.ServeMux
	log *slog.Logger
}

// call is one entry of the table, its types forgotten.
type call struct {
	path string
	rule rule
	// http makes the handler that answers whom gate lets through; nil without a handler.
	http func(gate connect.RequestGateFunc) http.Handler
}

// NewServer returns a server of the calls. It answers nothing until Run.
func NewServer(n Listener, h Handlers, log *slog.Logger) (*Server, error) {
	s := &Server{net: n, mux: http.NewServeMux(), log: log}
	for _, c := range h.calls() {
		if c.http == nil {
			return nil, fmt.Errorf("rpc: nothing answers %s", c.path)
		}
		s.mux.Handle(c.path, c.http(s.gate(c.path, c.rule)))
	}
	refuse := connect.NewErrorWriter(connect.WithCodec(codec{}))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if err := refuse.Write(w, r, toWire(api.Unsupported.Errorf("there is no call %s", r.URL.Path))); err != nil {
			log.Debug("answer not written", "err", err)
		}
	})
	return s, nil
}

// answer makes the entry of a call.
func answer[Req, Res any](p proc[Req, Res], r rule, f handler[Req, Res]) call {
	c := call{path: string(p), rule: r}
	if f == nil {
		return c
	}
	limit := maxMessage
	if r == open {
		limit = maxOpenRequest
	}
	c.http = func(gate connect.RequestGateFunc) http.Handler {
		unary := func(ctx context.Context, req *connect.Request[Req]) (*connect.Response[Res], error) {
			res, err := f(ctx, caller(ctx), *req.Msg)
			if err != nil {
				return nil, toWire(err)
			}
			return connect.NewResponse(&res), nil
		}
		return connect.NewUnaryHandler(string(p), unary, connect.WithCodec(codec{}), connect.WithReadMaxBytes(limit),
			connect.WithRequestGate(gate), connect.WithCompression("gzip", nil, nil))
	}
	return c
}

// Run answers calls until ctx ends, and then gives those in progress a few seconds.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.net.ListenOpen(api.RPCProtocol)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       serverIdle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("rpc: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// ServeHTTP implements http.Handler. Of all the forms that connect understands, one is
// spoken here.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/"+(codec{}).Name() {
		http.Error(w, "calls are POST requests of application/cbor", http.StatusUnsupportedMediaType)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// gate applies a call's rule to the peer at the other end of the stream, before
// anything of its message is read.
func (s *Server) gate(path string, r rule) connect.RequestGateFunc {
	return func(ctx context.Context, _ connect.Spec, p connect.Peer, _ http.Header) (context.Context, error) {
		from, err := api.ParsePeerID(p.Addr)
		if err != nil {
			return nil, toWire(err)
		}
		switch r {
		case open:
		case member:
			if err := s.net.Check(ctx, from); err != nil {
				return nil, toWire(refused(path, err))
			}
		default:
			return nil, toWire(api.Denied.Errorf("call %s: nobody may make it", path))
		}
		return context.WithValue(ctx, callerKey{}, from), nil
	}
}

type callerKey struct{}

// caller is the peer that gate let through.
func caller(ctx context.Context) api.PeerID { return ctx.Value(callerKey{}).(api.PeerID) }
