// Package rest is Pinfold's own HTTP API: that of IPFS Cluster 1.1.6 with additions.
//
// Paths, parameters, objects, streams and their trailers are the incumbent's, with
// these differences. What is wrong with a request, a wrong method too, is found before
// anything happens and answered with 4xx and an error object. A streamed add sends its
// 200 with the first line. Lines of a stream may share a flush. A stream that breaks
// off has, beside the incumbent's trailer X-Stream-Error, the trailer
// X-Pinfold-Error-Code: the status that the error would have had as an answer of its
// own. A write's answer carries the log index of the change in X-Pinfold-Index (that of a
// streamed add in a trailer of this name), and that of GET /allocations the one of the
// state listed. Each route needs a scope, which routes.go names, of who asks. POST /pins takes bulk changes (see
// bulk.go). Routes of our own are in routes.go.
//
// Handlers read parameters, call one collaborator and write what it returned. Package
// web turns their errors into answers.
package rest

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Pins changes the pinset. Pins are given as the user asked: zero factors are the
// cluster's defaults. The records returned are as stored, visible on this peer, with
// the log index of the change.
type Pins interface {
	Pin(ctx context.Context, p api.Pin) (api.Pin, uint64, error)
	Unpin(ctx context.Context, c api.Cid) (api.Pin, uint64, error)
	// PinMany does the requests as if one after the other, and answers each in order.
	PinMany(ctx context.Context, reqs []api.Request) []api.Result
}

// Pinset reads this peer's copy of the pinset.
type Pinset interface {
	// Get returns NotFound where c is not in the pinset.
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	// Select lists the pins that pass f, past the one for which SelectCursor gave cursor
	// (nil: all), in an order that f alone decides. All are of one state: at, where not
	// nil, is told its log index before the first.
	Select(ctx context.Context, f api.PinFilter, cursor []byte, at func(index uint64)) iter.Seq2[api.Pin, error]
	SelectCursor(f api.PinFilter, p api.Pin) []byte
	// Count gives the number of pins that pass f where it is kept: none is looked at.
	Count(f api.PinFilter) (pins uint64, kept bool)
}

// Tracker tells how far along pins are, and has failed ones tried again: on one peer
// or on all.
type Tracker interface {
	// Status of a CID that is not in the pinset is no error.
	Status(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error)
	// ListAfter goes by the bytes of CIDs, from past one.
	ListAfter(ctx context.Context, filter api.TrackerStatus, after api.Cid) iter.Seq2[api.GlobalPinInfo, error]
	Recover(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error)
	RecoverAll(ctx context.Context) iter.Seq2[api.GlobalPinInfo, error]
}

// Adder adds the files of dir, pins the root, and hands each line of the answer to
// out. It fails, and pins nothing, where reading dir or out does. What is wrong with p
// is Invalid or Unsupported, found before anything is read or happens.
type Adder interface {
	Add(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error)
}

// Peers knows the cluster's peers.
type Peers interface {
	Self(ctx context.Context) (api.Peer, error)
	// Peers yields every peer, with its Error set where it did not answer.
	Peers(ctx context.Context) iter.Seq2[api.Peer, error]
	// Peer tells who one peer is, as Peers does. The error is NotFound where it is none.
	Peer(ctx context.Context, p api.PeerID) (api.Peer, error)
	// Remove returns the log index from which on p is no peer. With revoke the cluster goes
	// on under a key that p does not know; p may have been removed before.
	Remove(ctx context.Context, p api.PeerID, revoke bool) (uint64, error)
	// Invite returns a token by which one peer may join within ttl; 0 is the default.
	Invite(ctx context.Context, ttl time.Duration) (string, error)
}

// Monitor has the metrics of peers.
type Monitor interface {
	Names() []string
	Latest(name string) []api.Metric
	Alerts() []api.Alert
}

// Resolver turns a content path into the CID that it leads to.
type Resolver interface {
	Resolve(ctx context.Context, path string) (api.Cid, error)
}

// Collector removes unpinned blocks, on this peer or on all.
type Collector interface {
	GC(ctx context.Context, local bool) (api.GlobalRepoGC, error)
}

// Repairs tells how repair is going, whichever peer leads it.
type Repairs interface {
	Repair(ctx context.Context) (api.RepairStatus, error)
}

// Parts are what the API is a door to. All are needed.
type Parts struct {
	Version   string // of this program
	Pins      Pins
	Pinset    Pinset
	Tracker   Tracker // asks all peers
	Local     Tracker // asks this one
	Adder     Adder
	Peers     Peers
	Monitor   Monitor
	Resolver  Resolver
	GC        Collector
	Repairs   Repairs
	Tokens    Tokens
	Network   Network
	Followers Followers
	Guarded   bool // users need a password or a token
	Feed      Feed
	Log       Log
	Metrics   http.Handler // of Prometheus
	// Events opens a stream of events, with resume from the log index after. The error is
	// Unavailable where there are too many.
	Events func(after uint64, resume bool) (EventStream, error)
}

// maxIgnoredBody is the largest body, in bytes, of a request that needs none.
const maxIgnoredBody = 1 << 20

type handler struct {
	Parts
	log     *slog.Logger
	waiting chan struct{} // an item for each request that waits for its pin
	reading chan struct{} // an item for each read that waits for the log
}

// New returns the API over parts. It belongs behind web.New, which adds what all
// doors share.
func New(parts Parts, log *slog.Logger) http.Handler {
	h := &handler{Parts: parts, log: log, waiting: make(chan struct{}, maxWaiting), reading: make(chan struct{}, maxReads)}
	r := chi.NewRouter()
	r.NotFound(web.Handle(log, func(http.ResponseWriter, *http.Request) error { return api.NotFound.Errorf("not found") }))
	r.MethodNotAllowed(web.Handle(log, func(w http.ResponseWriter, req *http.Request) error { return notAllowed(r, w, req) }))

	for _, rt := range h.routes() {
		serve := readsQuery(rt.serve)
		if rt.body == "" {
			serve = ignoresBody(serve)
		}
		r.Method(rt.method, rt.pattern(), web.Handle(log, web.Needs(rt.scope, serve)))
	}
	return r
}

// ignoresBody is f, which reads no body, where there may be one.
func ignoresBody(f web.HandlerFunc) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := web.Ignore(w, r, maxIgnoredBody); err != nil {
			return err
		}
		return f(w, r)
	}
}

// readsQuery refuses a query that cannot be read, also where f needs none.
func readsQuery(f web.HandlerFunc) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := query(r); err != nil {
			return err
		}
		return f(w, r)
	}
}

// notAllowed names the methods that the path of req has in routes.
func notAllowed(routes chi.Routes, w http.ResponseWriter, req *http.Request) error {
	path := req.URL.RawPath // what chi goes by
	if path == "" {
		path = req.URL.Path
	}
	var allowed []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodPost} {
		if routes.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 { // a method that HTTP does not know
		return api.NotFound.Errorf("not found")
	}
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	return &api.Error{Code: http.StatusMethodNotAllowed, Message: "the method is not allowed here; these are: " + allow}
}

// param is a part of the path, unescaped.
func param(r *http.Request, name string) (string, error) {
	v := r.PathValue(name)
	if r.URL.RawPath == "" {
		return v, nil
	}
	s, err := url.PathUnescape(v)
	if err != nil {
		return "", api.Invalid.Errorf("error decoding the path: %w", err)
	}
	return s, nil
}

func cidParam(r *http.Request) (api.Cid, error) {
	s, err := param(r, "cid")
	if err != nil {
		return api.CidUndef, err
	}
	return parseCid(s)
}

// query reads the parameters of a request. Unlike url.URL.Query it drops nothing.
func query(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, api.Invalid.Errorf("error decoding the query: %w", err)
	}
	return q, nil
}
