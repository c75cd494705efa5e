package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	linkTimeout = 30 * time.Second // of one request
	linkFresh   = 10 * time.Second // for which one link answers all requests
	linkHeader  = 16 << 10         // bytes
)

// document serves the document of the newest link. Strangers ask it, so it asks the peer
// no more than once in linkFresh; should that fail, it goes on with what it has, but for where
// the peer refuses. What fails is written to errw, once.
type document struct {
	fresh func(context.Context) (api.FollowLink, error)
	errw  io.Writer

	mu    sync.Mutex
	at    time.Time
	text  []byte
	fault string
}

// ServeHTTP implements http.Handler.
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the link can only be read", http.StatusMethodNotAllowed)
		return
	}
	text, err := d.current(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "no peer of the cluster gives a link now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(text) // who asked has gone
}

func (d *document) current(ctx context.Context) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() && time.Since(d.at) < linkFresh {
		if d.text == nil {
			return nil, errors.New("the peer did not answer a moment ago")
		}
		return d.text, nil
	}
	d.at = time.Now()
	link, err := d.fresh(ctx)
	if err == nil {
		d.text, err = json.MarshalIndent(link.Document, "", "  ")
	}
	d.tell(err)
	if errors.Is(err, api.Conflict) || errors.Is(err, api.Denied) {
		d.text = nil
	}
	if err != nil && d.text == nil {
		return nil, err
	}
	return d.text, nil
}

// tell writes a fault that is new.
func (d *document) tell(err error) {
	was := d.fault
	if d.fault = ""; err != nil {
		d.fault = err.Error()
	}
	if d.fault != "" && d.fault != was {
		_, _ = fmt.Fprintf(d.errw, "the peer gives no link: %s\n", d.fault) // whoever read this has gone
	}
}

// serveDocument serves links on l until ctx ends.
func serveDocument(ctx context.Context, l net.Listener, fresh func(context.Context) (api.FollowLink, error), errw io.Writer) error {
	srv := &http.Server{Handler: http.TimeoutHandler(&document{fresh: fresh, errw: errw}, linkTimeout, "no peer answers in time"),
		ReadTimeout: linkTimeout, WriteTimeout: 2 * linkTimeout, IdleTimeout: linkTimeout, MaxHeaderBytes: linkHeader}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the link: %w", err)
	}
	return nil
}
