package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// readWait bounds how long a read waits for this peer's copy of the pinset.
const readWait = 10 * time.Second

// maxReads is how many reads wait so at once.
const maxReads = 1000

// Log tells how far this peer's copy of the pinset is. Errors are Unavailable where they
// are not said to be another.
type Log interface {
	// Current returns once the copy has all changes that were acknowledged anywhere before
	// the call.
	Current(ctx context.Context) error
	// WaitApplied returns once the copy has the change at a log index. The error is Invalid
	// for one that the cluster's log has not come to.
	WaitApplied(ctx context.Context, index uint64) error
}

var readParams = []queryParam{
	{"consistency", text, "local (the default): the contacted peer's copy of the pinset; linearizable: with all changes that were answered before the request"},
	{"index", integer, "the log index, from a write's X-Pinfold-Index, of a change that the answer is to show"},
}

// fresh makes f answer once this peer's copy of the pinset is as the parameters
// consistency and index ask. Where it is not in time the answer is 503, and 400 for an
// index beyond the log.
func (h *handler) fresh(f func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := query(r)
		if err != nil {
			return err
		}
		p := params{q: q}
		index := p.unsigned("index", "index")
		linearizable := false
		switch c := p.text("consistency"); c {
		case "", "local":
		case "linearizable":
			linearizable = true
		default:
			p.fail("parameter consistency invalid: %q is neither local nor linearizable", c)
		}
		if p.err != nil {
			return p.err
		}
		if index == 0 && !linearizable {
			return f(w, r)
		}
		if err := h.catchUp(r.Context(), index, linearizable); err != nil {
			return err
		}
		return f(w, r)
	}
}

// catchUp waits for this peer's copy of the pinset.
func (h *handler) catchUp(ctx context.Context, index uint64, linearizable bool) error {
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	default:
		return api.Unavailable.Errorf("%d reads wait for the log already: try again later", maxReads)
	}
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	err := h.Log.WaitApplied(ctx, index)
	if err == nil && linearizable {
		err = h.Log.Current(ctx)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return api.Unavailable.Errorf("this peer's copy of the pinset was not brought up to date in %s: %w", readWait, err)
	}
	return err
}
