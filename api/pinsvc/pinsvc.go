// Package pinsvc is the door for clients of the IPFS Pinning Service API 1.0, such as
// `ipfs pin remote`.
//
// Its objects, filters, status codes and errors are the specification's. A pin object
// is a request to keep a CID (api.PinRequest); what other doors pin is listed too, each
// as one request whose requestid is the CID. See DESIGN.md.
//
// Handlers read a request, call one collaborator and write what it returned. Package web
// puts authentication and limits in front of them.
package pinsvc

import (
	"context"
	_ "embed"
	"encoding/json"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// DefaultAddress is where the door listens unless told otherwise.
const DefaultAddress = "/ip4/127.0.0.1/tcp/9097"

const (
	// writeTimeout bounds the wait for a change to be committed.
	writeTimeout = 30 * time.Second
	// listsAtOnce bounds the lists that are being made; others wait.
	listsAtOnce = 4
)

// Pins changes the pinset.
type Pins interface {
	// PinMany does each request and answers in order.
	PinMany(ctx context.Context, reqs []api.Request) []api.Result
}

// Pinset reads this peer's copy of the pinset.
type Pinset interface {
	// Get returns NotFound where c is not in the pinset.
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	// Requests gives the requests made after since and before before (zero: no bound),
	// the newest first.
	Requests(ctx context.Context, since, before time.Time) iter.Seq2[api.RequestEntry, error]
	// CountRequests counts what Requests gives.
	CountRequests(ctx context.Context, since, before time.Time) (int, error)
	// NamedRequests gives the pins with a request of that name.
	NamedRequests(ctx context.Context, name string) iter.Seq2[api.Pin, error]
	// PairedRequests gives the pins with a request whose metadata has that pair.
	PairedRequests(ctx context.Context, key, value string) iter.Seq2[api.Pin, error]
}

// Tracker tells how far along pins are on all peers.
type Tracker interface {
	Status(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error)
	// List tells of the pins that have one of the statuses on any peer.
	List(ctx context.Context, filter api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error]
}

// Peers knows the cluster's full peers.
type Peers interface {
	Health() []api.PeerHealth
	// Delegates are the addresses, each with its peer ID, at which the IPFS nodes of peers
	// can be dialled.
	Delegates() map[api.PeerID][]api.Multiaddr
}

// Parts are what the door opens to. All are needed.
type Parts struct {
	Pins    Pins
	Pinset  Pinset
	Tracker Tracker
	Peers   Peers
	// Credentials are the passwords of the users that POST /token gives tokens to; nil
	// where everybody is let in.
	Credentials map[string]string
	Tokens      web.Tokens // signs them
}

//go:embed openapi.json
var document []byte

type handler struct {
	Parts
	log    *slog.Logger
	routes chi.Router
	lists  chan struct{} // a place for each list that is being made
	busy   busyCache
}

// New returns the door over parts. It belongs behind web.New, which adds what all doors
// share; errors of those parts are worded by this one.
func New(parts Parts, log *slog.Logger) http.Handler {
	h := &handler{Parts: parts, log: log, routes: chi.NewRouter(), lists: make(chan struct{}, listsAtOnce)}
	h.busy.lock = make(chan struct{}, 1)
	r := h.routes
	r.NotFound(web.Handle(log, func(http.ResponseWriter, *http.Request) error {
		return api.NotFound.Errorf("there is no such path; see /openapi.json")
	}))
	r.MethodNotAllowed(web.Handle(log, h.notAllowed))
	handle := func(scope api.Scope, method, pattern string, f web.HandlerFunc) {
		r.Method(method, pattern, web.Handle(log, web.Needs(scope, f)))
	}
	handle(api.ScopeRead, http.MethodGet, "/pins", h.list)
	handle(api.ScopeWrite, http.MethodPost, "/pins", h.add)
	handle(api.ScopeRead, http.MethodGet, "/pins/{requestid}", h.get)
	handle(api.ScopeWrite, http.MethodPost, "/pins/{requestid}", h.replace)
	handle(api.ScopeWrite, http.MethodDelete, "/pins/{requestid}", h.remove)
	handle(api.ScopeRead, http.MethodPost, "/token", h.token)
	handle(api.ScopeNone, http.MethodGet, "/health", func(w http.ResponseWriter, _ *http.Request) error { web.NoContent(w); return nil })
	handle(api.ScopeRead, http.MethodGet, "/openapi.json", func(w http.ResponseWriter, _ *http.Request) error {
		web.WriteLine(w, document)
		return nil
	})
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.routes.ServeHTTP(w, r) }

// notAllowed answers a method that the path does not have with those it has.
func (h *handler) notAllowed(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var allowed []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodPost} {
		if h.routes.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &api.Error{Code: http.StatusMethodNotAllowed, Message: "the path takes " + strings.Join(allowed, ", ") + ", not " + r.Method}
}

// reasons are the machine's words for statuses; others are named after their text.
var reasons = map[int]string{
	http.StatusBadRequest:                  "BAD_REQUEST",
	http.StatusUnauthorized:                "UNAUTHORIZED",
	http.StatusForbidden:                   "FORBIDDEN",
	http.StatusNotFound:                    "NOT_FOUND",
	http.StatusMethodNotAllowed:            "METHOD_NOT_ALLOWED",
	http.StatusConflict:                    "CONFLICT",
	http.StatusRequestEntityTooLarge:       "TOO_LARGE",
	http.StatusRequestHeaderFieldsTooLarge: "HEADERS_TOO_LARGE",
	http.StatusServiceUnavailable:          "UNAVAILABLE",
	http.StatusGatewayTimeout:              "OUTCOME_UNKNOWN",
	http.StatusInsufficientStorage:         "INSUFFICIENT_STORAGE",
}

type failure struct {
	Error struct {
		Reason  string `json:"reason"`
		Details string `json:"details,omitempty"`
	} `json:"error"`
}

// WriteError implements web.ErrorWriter, with the specification's Failure.
func (h *handler) WriteError(w http.ResponseWriter, e *api.Error) {
	var f failure
	f.Error.Details = e.Message
	var known bool
	if f.Error.Reason, known = reasons[e.Code]; !known {
		f.Error.Reason = "INTERNAL_SERVER_ERROR"
		if e.Code < 500 {
			f.Error.Reason = "CUSTOM_ERROR"
		}
	}
	body, _ := json.Marshal(f) // two strings: this cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code)
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
}

// token gives the user that asks, by password, a token.
func (h *handler) token(w http.ResponseWriter, r *http.Request) error {
	user, password, ok := r.BasicAuth()
	if h.Credentials == nil {
		return &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: this door needs no token, as everybody is let in"}
	}
	if !ok || h.Credentials[user] != password {
		return &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: a token is given for a user and a password"}
	}
	token, err := h.Tokens.New(user, password, api.ScopeNone, web.TokenLife, time.Now())
	if err != nil {
		return err
	}
	return web.WriteJSON(w, token)
}

// requestID reads the path's end.
func requestID(r *http.Request) (c api.Cid, id string, err error) {
	s := chi.URLParam(r, "requestid")
	if r.URL.RawPath != "" {
		if s, err = url.PathUnescape(s); err != nil {
			return c, "", api.Invalid.Errorf("the requestid is not escaped as a path is: %w", err)
		}
	}
	return api.ParseRequestName(s)
}
