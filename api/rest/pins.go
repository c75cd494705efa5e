package rest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// resolveTimeout bounds finding what a path leads to.
const resolveTimeout = time.Minute

// writeTimeout bounds a change of the pinset or of the peers. Without a majority of the peers it would
// wait for one for ever.
const writeTimeout = 30 * time.Second

func (h *handler) pin(w http.ResponseWriter, r *http.Request) error {
	c, err := cidParam(r)
	if err != nil {
		return err
	}
	o, err := requestOptions(r)
	if err != nil {
		return err
	}
	return h.pinCid(w, r, c, o)
}

func (h *handler) pinPath(w http.ResponseWriter, r *http.Request) error {
	p, err := pathParam(r)
	if err != nil {
		return err
	}
	o, err := requestOptions(r)
	if err != nil {
		return err
	}
	c, err := h.resolve(r.Context(), p)
	if err != nil {
		return err
	}
	return h.pinCid(w, r, c, o)
}

func (h *handler) pinCid(w http.ResponseWriter, r *http.Request, c api.Cid, o api.PinOptions) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	wait, err := h.waitParam(q)
	if err != nil {
		return err
	}
	defer wait.done()
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	pin, index, err := h.Pins.Pin(ctx, api.NewPin(c, o, time.Now()))
	setIndex(w, index)
	if err != nil {
		return err
	}
	pin.UserAllocations = o.UserAllocations
	if wait == nil {
		return writePin(w, written(pin))
	}
	waited, err := wait.await(r.Context(), c)
	if err != nil {
		return err
	}
	return writeWaited(w, written(pin), waited)
}

func (h *handler) unpin(w http.ResponseWriter, r *http.Request) error {
	c, err := cidParam(r)
	if err != nil {
		return err
	}
	return h.unpinCid(w, r, c)
}

func (h *handler) unpinPath(w http.ResponseWriter, r *http.Request) error {
	p, err := pathParam(r)
	if err != nil {
		return err
	}
	c, err := h.resolve(r.Context(), p)
	if err != nil {
		return err
	}
	return h.unpinCid(w, r, c)
}

func (h *handler) unpinCid(w http.ResponseWriter, r *http.Request, c api.Cid) error {
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	pin, index, err := h.Pins.Unpin(ctx, c)
	setIndex(w, index)
	if err != nil {
		return err
	}
	return writePin(w, stored(pin))
}

func (h *handler) allocation(w http.ResponseWriter, r *http.Request) error {
	c, err := cidParam(r)
	if err != nil {
		return err
	}
	pin, err := h.Pinset.Get(r.Context(), c)
	if err != nil {
		return err
	}
	return writePin(w, stored(pin))
}

func (h *handler) allocations(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	wanted, err := typeFilter(p.list("filter"))
	if p.err != nil {
		return p.err
	}
	if err != nil {
		return err
	}
	l := p.listing()
	fields := compactOf[api.Pin](&p)
	if p.err != nil {
		return p.err
	}
	if l.count && wanted == nil {
		if n, kept := h.Pinset.Count(l.filter); kept {
			return web.WriteJSON(w, api.Count{Count: n})
		}
	}
	list, err := h.pinRows(w.Header(), r, l, wanted, fields)
	if err != nil {
		return err
	}
	return answer(h, w, r, l, list)
}

// end completes a stream and logs a fault of ours that broke it off.
func (h *handler) end(r *http.Request, s *web.Stream, err error) error {
	unsent := s.End(err)
	if err != nil && unsent == nil && r.Context().Err() == nil && api.KindOf(err) == api.Internal {
		h.log.Error("stream broke off", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	return unsent
}

// typeFilter reads names of pin types. It ignores unknown ones as long as one is
// known; nil is all types.
func typeFilter(names []string) (map[api.PinType]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	wanted := map[api.PinType]bool{}
	var unknown error
	for _, name := range names {
		if name == "all" {
			return nil, nil
		}
		t, err := api.ParsePinType(name)
		if err != nil {
			unknown = err
			continue
		}
		wanted[t] = true
	}
	if len(wanted) == 0 {
		return nil, api.Invalid.Errorf("invalid filter value: %w, or all", unknown)
	}
	return wanted, nil
}

func requestOptions(r *http.Request) (api.PinOptions, error) {
	q, err := query(r)
	if err != nil || q == nil {
		return api.PinOptions{}, err
	}
	return pinOptions(q, time.Now())
}

// pathParam reads the content path that a request's path ends with.
func pathParam(r *http.Request) (path.Path, error) {
	p, err := path.NewPath(strings.TrimPrefix(r.URL.Path, "/pins"))
	if err != nil {
		return nil, api.Invalid.Errorf("error parsing path: %w", err)
	}
	return p, nil
}

// resolve finds the CID at the end of p. A path that is only a CID costs nothing.
func (h *handler) resolve(ctx context.Context, p path.Path) (api.Cid, error) {
	if segments := p.Segments(); !p.Mutable() && len(segments) == 2 {
		return parseCid(segments[1])
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return h.Resolver.Resolve(ctx, p.String())
}

// setIndex names the log index of a change, also where the answer is an error that
// came after it.
func setIndex(w http.ResponseWriter, index uint64) {
	if index > 0 {
		w.Header().Set(api.IndexHeader, strconv.FormatUint(index, 10))
	}
}

// setIndexTrailer does what setIndex does for a stream, which has begun or not.
func setIndexTrailer(w http.ResponseWriter, index uint64) {
	setIndex(w, index)
	if index > 0 {
		w.Header().Set(http.TrailerPrefix+api.IndexHeader, strconv.FormatUint(index, 10))
	}
}
