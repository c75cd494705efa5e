// Package proxy answers the RPC API of Kubo 0.42, at /api/v0, so that what talks to a
// Kubo daemon talks to a cluster: the ipfs command line, kubo-rpc-client, the WebUI.
//
// What concerns pins, adds and room is the cluster's business and goes to its parts.
// The rest is the node's. With the embedded node it is answered here (see command),
// from the node's blocks; with a Kubo daemon behind, it passes through to that.
//
// Answers are Kubo's on the wire: text where a request cannot be read, else 200 or 500
// with {Message, Code, Type}, and a trailer where an answer breaks off. Only POST is
// let in, and only from pages of this very address.
package proxy

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/ipfs/boxo/files"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// Pins changes the pinset. Pins are given as the user asked: zero factors are the
// cluster's defaults, and Allocations are peers that have everything already.
type Pins interface {
	Pin(ctx context.Context, p api.Pin) (api.Pin, uint64, error)
	Unpin(ctx context.Context, c api.Cid) (api.Pin, uint64, error)
}

// Pinset reads this peer's copy of the pinset.
type Pinset interface {
	// Get returns NotFound where c is not in the pinset.
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	All(ctx context.Context) iter.Seq2[api.Pin, error]
}

// Tracker tells how far along a pin is on all peers.
type Tracker interface {
	Status(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error)
}

// Adder adds the files of dir, pins the root unless p.NoPin, and hands each line of
// the answer to out.
type Adder interface {
	Add(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error)
}

// Resolver turns a content path into the CID that it leads to.
type Resolver interface {
	Resolve(ctx context.Context, path string) (api.Cid, error)
}

// Collector removes unpinned blocks on all peers. It calls f, never twice at a time, with
// what it has removed as that becomes known, and stops where f fails.
type Collector interface {
	GCEach(ctx context.Context, f func(api.RepoGC) error) error
}

// Room tells the room on each peer, in one error for those that do not answer.
type Room interface {
	RepoStats(ctx context.Context) ([]api.RepoStat, error)
}

// Holders tells which nodes hold a pin, this one left out.
type Holders interface {
	Holders(ctx context.Context, c api.Cid) []peer.AddrInfo
}

// Logs are what the peer writes down of itself.
type Logs interface {
	// Levels gives the level of each component; that of all others is under "".
	Levels() map[string]slog.Level
	// SetLevel sets the level of one component, or of all where it is "".
	SetLevel(component string, l slog.Level)
	// Tail calls f with what is logged at l or above from now on, as lines of JSON, until
	// ctx ends or f fails. A line that f is too slow for is left out.
	Tail(ctx context.Context, l slog.Level, f func([]byte) error) error
}

// Parts are what the proxy is a door to.
type Parts struct {
	Version  string // of this program
	Self     api.PeerID
	Pins     Pins
	Pinset   Pinset
	Tracker  Tracker
	Adder    Adder
	Hasher   Adder // adds nothing: it only tells what CIDs an add would make
	Resolver Resolver
	GC       Collector
	Room     Room
	Traffic  metrics.Reporter // of the data host
	// PinOptions reads what a request says, in the REST API's words, about a pin.
	PinOptions func(url.Values) (api.PinOptions, error)
	// GatewayAddress is where the HTTP gateway is, as a multiaddress; "" without one.
	GatewayAddress string
	Holders        Holders
	Logs           Logs
	Node           Node   // the embedded node; nil with a Kubo daemon behind
	Kubo           string // the daemon's address, as a multiaddress, where Node is nil
	Files          Files  // the daemon's files, of which the cluster keeps some; nil with the embedded node
}

// prefix is that of all commands' paths.
const prefix = "/api/v0/"

type handler struct {
	Parts
	o        Options
	log      *slog.Logger
	commands map[string]*command // by path, such as pin/add
	daemon   *daemon             // nil with the embedded node
	active   active
	services sync.Mutex    // held while those that are known change
	walks    chan struct{} // has a value for each walk of all pins in progress
}

// maxWalks is how many requests at once may walk what is below all pins.
const maxWalks = 4

// walk waits for its turn to walk what is below all pins. done ends it.
func (c *call) walk() (done func(), err error) {
	select {
	case c.walks <- struct{}{}:
		return func() { <-c.walks }, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

// New returns the proxy over parts. It belongs behind web.NewPlain: it refuses other
// pages' requests by Kubo's rules. The error is Invalid where o or the daemon's address is.
func New(parts Parts, o Options, log *slog.Logger) (http.Handler, error) {
	o = o.WithDefaults()
	h := &handler{Parts: parts, o: o, log: log, commands: map[string]*command{}, walks: make(chan struct{}, maxWalks)}
	cluster, native := clusterCommands, nativeCommands
	if parts.Node == nil {
		native = nil
		var err error
		if h.daemon, err = newDaemon(parts.Kubo, o, log); err != nil {
			return nil, err
		}
	}
	for _, group := range append(append([][]*command{}, cluster...), native...) {
		for _, c := range group {
			h.commands[c.path] = c
		}
	}
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, rest, ok := h.find(r)
	if h.daemon != nil {
		if !ok || r.Method == http.MethodOptions || r.Method == http.MethodHead {
			h.passNoted(w, r)
			return
		}
		if !h.daemon.admit(w, r) {
			return
		}
	} else {
		w.Header().Set("Server", "pinfold/"+h.Version)
		if !h.admit(w, r) {
			return
		}
	}
	if !ok {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	h.serve(w, r, h.commands[name], rest)
}

// WriteError implements web.ErrorWriter.
func (h *handler) WriteError(w http.ResponseWriter, e *api.Error) {
	body, _ := json.Marshal(failed{Message: e.Message, Type: "error"}) // cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code)
	_, _ = w.Write(append(body, '\n'))
}

// find gives the command that a request's path names, and the arguments in the path:
// what follows a command that takes any is its first one.
func (h *handler) find(r *http.Request) (name string, rest []string, ok bool) {
	p, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok {
		return "", nil, false
	}
	if c, ok := h.commands[p]; ok {
		return p, nil, h.ours(c, r)
	}
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", nil, false
	}
	c, ok := h.commands[p[:i]]
	if !ok || c.run == nil {
		return "", nil, false
	}
	return p[:i], []string{p[i+1:]}, h.ours(c, r)
}

// ours tells whether a command is answered here: with a daemon behind, some are only
// if they pin something.
func (h *handler) ours(c *command, r *http.Request) bool {
	if h.daemon == nil || c.passed == nil {
		return true
	}
	return !c.passed(r.URL.Query())
}
