package pinsvc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// noBody refuses a body that is of no use and large.
func noBody(r *http.Request) error {
	if r.ContentLength > maxBody {
		return api.TooLarge.Errorf("the body is over %d bytes", maxBody)
	}
	return nil
}

// add makes a new request.
func (h *handler) add(w http.ResponseWriter, r *http.Request) error {
	object, err := readPin(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	p, request, err := h.commit(ctx, object, api.CidUndef, nil)
	if err != nil {
		return err
	}
	return accepted(w, h.object(r.Context(), p, request))
}

// get tells of one request.
func (h *handler) get(w http.ResponseWriter, r *http.Request) error {
	if err := noBody(r); err != nil {
		return err
	}
	p, request, err := h.find(r)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, h.object(r.Context(), p, request))
}

// replace puts another request in the place of one. Of one CID that is one change. Of
// two, the new one is committed first, so that blocks of both are never without a pin;
// where the old one turns out to be gone by then, the new one is taken back.
func (h *handler) replace(w http.ResponseWriter, r *http.Request) error {
	old, oldRequest, err := h.find(r)
	if err != nil {
		return err
	}
	object, err := readPin(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	if object.Cid == old.Cid {
		p, request, err := h.commit(ctx, object, api.CidUndef, &oldRequest.ID)
		if err != nil {
			return err
		}
		return accepted(w, h.object(r.Context(), p, request))
	}
	p, request, err := h.commit(ctx, object, old.Cid, nil)
	if err != nil {
		return err
	}
	if err := h.drop(ctx, old.Cid, oldRequest.ID); err != nil {
		if errors.Is(err, api.NotFound) {
			err = errors.Join(err, h.drop(ctx, p.Cid, request.ID))
		}
		return err
	}
	return accepted(w, h.object(r.Context(), p, request))
}

// remove takes one request away.
func (h *handler) remove(w http.ResponseWriter, r *http.Request) error {
	if err := noBody(r); err != nil {
		return err
	}
	c, id, err := requestID(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	if err := h.drop(ctx, c, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// find reads the request that the path names.
func (h *handler) find(r *http.Request) (api.Pin, api.PinRequest, error) {
	c, id, err := requestID(r)
	if err != nil {
		return api.Pin{}, api.PinRequest{}, err
	}
	p, err := h.Pinset.Get(r.Context(), c)
	if err != nil {
		if errors.Is(err, api.NotFound) {
			err = noRequest(c, id)
		}
		return p, api.PinRequest{}, err
	}
	request, ok := requestOf(p, id)
	if !ok {
		return p, request, noRequest(c, id)
	}
	return p, request, nil
}

// object shows one request as it stands now.
func (h *handler) object(ctx context.Context, p api.Pin, r api.PinRequest) pinStatus {
	return objectOf(p, r, h.now(ctx, p), h.Peers.Delegates())
}

func requestOf(p api.Pin, id string) (api.PinRequest, bool) {
	all := p.AllRequests()
	i := slices.IndexFunc(all, func(r api.PinRequest) bool { return r.ID == id })
	if i < 0 {
		return api.PinRequest{}, false
	}
	return all[i], true
}

func noRequest(c api.Cid, id string) error {
	return api.NotFound.Errorf("there is no pin request %q", api.Pin{Cid: c}.RequestName(api.PinRequest{ID: id}))
}

// commit adds a request for object, in place of the one drop of the same CID where that
// is not nil. Peers that hold near, if any, are preferred.
func (h *handler) commit(ctx context.Context, object pinObject, near api.Cid, drop *string) (api.Pin, api.PinRequest, error) {
	var random [8]byte
	rand.Read(random[:])
	request := api.PinRequest{ID: hex.EncodeToString(random[:]), Name: object.Name, Metadata: object.Meta, Origins: object.Origins}
	p := api.Pin{Cid: object.Cid, Requests: []api.PinRequest{request}}
	p.PinUpdate = near
	res := h.Pins.PinMany(ctx, []api.Request{{Type: api.RequestPin, Pin: p, Drop: drop}})[0]
	if err := done(res); err != nil {
		return p, request, err
	}
	stored, ok := requestOf(res.Pin, request.ID)
	if !ok {
		return p, request, api.Conflict.Errorf("the pin request was made, and removed by another client meanwhile")
	}
	return res.Pin, stored, nil
}

// drop takes away a request.
func (h *handler) drop(ctx context.Context, c api.Cid, id string) error {
	err := done(h.Pins.PinMany(ctx, []api.Request{{Type: api.RequestUnpin, Pin: api.Pin{Cid: c}, Drop: &id}})[0])
	if errors.Is(err, api.NotFound) {
		return noRequest(c, id)
	}
	return err
}

// done is the error of a change. One that is committed and not yet visible on this peer
// is none: the answer says what was accepted.
func done(res api.Result) error {
	err := res.Fault.Err()
	if errors.Is(err, api.Lagging) {
		return nil
	}
	return err
}
