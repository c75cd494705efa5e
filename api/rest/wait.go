package rest

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	// defaultWait and maxWait bound how long a request waits for its pin.
	defaultWait = time.Minute
	maxWait     = time.Hour
	// maxWaiting is how many requests wait at once.
	maxWaiting = 1000
)

var waitParams = []queryParam{
	{"wait", text, "pinned: the answer comes once all holders have the pin, and has a field wait that tells of it"},
	{"timeout", text, "how long to wait at most, a Go duration; 1m. The answer then tells how far along the pin is"},
}

var statusWaitParams = []queryParam{
	{"wait", text, "pinned: the answer comes once all holders have the pin"},
	{"timeout", text, "how long to wait at most, a Go duration; 1m. The answer then tells how far along the pin is"},
}

// Feed tells when pins are there.
type Feed interface {
	// AwaitPinned returns once c is pinned on all its holders, or ctx ends, with its status
	// then.
	AwaitPinned(ctx context.Context, c api.Cid) (info api.GlobalPinInfo, pinned bool, err error)
}

// A wait is what a pin, an add or a look at a pin asks for with wait=pinned: the answer comes once all
// holders have the pin, or after timeout= (a Go duration) with how far along it is. nil
// waits for nothing.
type wait struct {
	feed    Feed
	timeout time.Duration
	places  chan struct{}
}

// waitParam reads what to wait for, and takes one of the places for those who wait,
// which the caller gives back. The error is Invalid, or Unavailable where there is none.
func (h *handler) waitParam(q url.Values) (*wait, error) {
	p := params{q: q}
	what := p.text("wait")
	timeout := p.duration("timeout", time.Millisecond, maxWait)
	switch {
	case p.err != nil:
		return nil, p.err
	case what == "" && timeout > 0:
		return nil, api.Invalid.Errorf("parameter timeout invalid: there is no wait=pinned that it could be for")
	case what == "":
		return nil, nil
	case what != "pinned":
		return nil, api.Invalid.Errorf("parameter wait invalid: %q is not pinned", what)
	}
	if timeout == 0 {
		timeout = defaultWait
	}
	select {
	case h.waiting <- struct{}{}:
		return &wait{feed: h.Feed, timeout: timeout, places: h.waiting}, nil
	default:
		return nil, api.Unavailable.Errorf("%d requests wait for their pins already: try again later, or without wait", maxWaiting)
	}
}

// done gives the place back.
func (w *wait) done() {
	if w != nil {
		<-w.places
	}
}

// await waits for c.
func (w *wait) await(ctx context.Context, c api.Cid) (api.Waited, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	info, pinned, err := w.feed.AwaitPinned(ctx, c)
	if err != nil {
		return api.Waited{}, err
	}
	return api.Waited{Pinned: pinned, PeerMap: shownInfo(info, time.Now()).PeerMap}, nil
}

// add waits for what an add has pinned, and hands the line that tells of it to out.
func (w *wait) add(ctx context.Context, pin api.Pin, out func(api.AddedOutput) error) error {
	if w == nil || !pin.Cid.Defined() {
		return nil
	}
	waited, err := w.await(ctx, pin.Cid)
	if err != nil {
		return err
	}
	return out(api.AddedOutput{Name: pin.Name, Cid: pin.Cid, Allocations: pin.Allocations, Wait: &waited})
}

// duration reads a Go duration within bounds; 0 where it is absent.
func (p *params) duration(name string, least, most time.Duration) time.Duration {
	s := p.text(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		p.fail("parameter %s invalid: %q is not a duration of %s to %s, like 30s", name, s, least, most)
	}
	return d
}

// writeWaited answers with a record as written, and what came of the wait for it.
func writeWaited(w http.ResponseWriter, p api.Pin, waited api.Waited) error {
	return web.WriteJSON(w, api.WaitedPin{Pin: p, Wait: &waited})
}
