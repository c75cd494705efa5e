package pinner

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxOrigins bounds the origins of a record, which are those of its requests.
const maxOrigins = 20

// A clock stamps requests of the Pinning Service API: clients page by these times, so
// no two are the same.
type clock struct {
	mu   sync.Mutex
	last int64 // Unix milliseconds
}

func (c *clock) next(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, now.UnixMilli())
	return c.last
}

// addRequest says what record comes of a client's request to keep old's CID too, in
// place of the request drop where that is not nil. What the record has of other doors
// stays as it is, but for its depth and, as long as there is a client's request, its
// expiry: the client asked for all of the DAG, without an end.
func (p *Pinner) addRequest(r, old api.Pin, drop *string, now time.Time) (api.Pin, error) {
	if len(r.Requests) != 1 || r.Requests[0].ID == "" {
		return r, api.Invalid.Errorf("a pin request has an ID, and there is one at a time")
	}
	if old.Cid.Defined() && old.Type != api.PinData {
		return r, api.Conflict.Errorf("%s is a %s and cannot be pinned by request", old.Cid, old.Type)
	}
	request := r.Requests[0]
	request.Created = p.clock.next(now)
	var kept []api.PinRequest
	if old.Cid.Defined() {
		again := func(r api.PinRequest) bool { return r.ID == request.ID }
		kept = slices.DeleteFunc(slices.Clone(old.AllRequests()), again)
	}
	if drop != nil {
		var err error
		if kept, err = withoutRequest(kept, *drop); err != nil {
			return r, err
		}
	}
	if old.Cid.Defined() {
		r.ReplicationFactorMin, r.ReplicationFactorMax = old.ReplicationFactorMin, old.ReplicationFactorMax
		r.ShardSize, r.PinUpdate, r.Size, r.Followers = old.ShardSize, old.PinUpdate, old.Size, old.Followers
	}
	r.Mode, r.ExpireAt = api.PinRecursive, time.Time{}
	r.Requests = append(kept, request)
	return withFace(r), nil
}

// dropRequest says what record is left of old without one of its requests; none where
// that was the last.
func dropRequest(old api.Pin, id string) (verdict, error) {
	if !old.Cid.Defined() {
		return verdict{}, api.NotFound.Errorf("pin is not part of the pinset")
	}
	left, err := withoutRequest(slices.Clone(old.AllRequests()), id)
	if err != nil {
		return verdict{}, err
	}
	if len(left) == 0 {
		return decideUnpin(old)
	}
	pin := old
	pin.Requests, pin.Revision = left, 0
	return verdict{pin: withFace(pin), had: slices.Concat(old.Allocations, old.Leaving)}, nil
}

func withoutRequest(list []api.PinRequest, id string) ([]api.PinRequest, error) {
	i := slices.IndexFunc(list, func(r api.PinRequest) bool { return r.ID == id })
	if i < 0 {
		return nil, api.NotFound.Errorf("the pin has no such request")
	}
	return slices.Delete(list, i, i+1), nil
}

// keepRequests gives a pin that another door makes anew the requests that clients have
// for it. Its own stands among them without an ID.
func keepRequests(pin, old api.Pin) api.Pin {
	pin.Requests = nil
	others := slices.DeleteFunc(slices.Clone(old.Requests), isPlain)
	if len(others) == 0 {
		return pin
	}
	own := pin.Plain()
	own.Metadata = maps.Clone(pin.Metadata)
	pin.Requests = append([]api.PinRequest{own}, others...)
	pin.ExpireAt = time.Time{}
	return withFace(pin)
}

// withFace gives pin the name and metadata that it shows: those of the pin of another
// door, where there is one among its requests, else of the newest. Where only that
// first one is left, the record is a plain one again, and ends when that does. The origins are all there are,
// the newest first, as far as there is room.
func withFace(pin api.Pin) api.Pin {
	face := pin.Requests[len(pin.Requests)-1]
	if i := slices.IndexFunc(pin.Requests, isPlain); i >= 0 {
		face = pin.Requests[i]
	}
	pin.Name, pin.Metadata, pin.Origins = face.Name, face.Metadata, nil
	for _, r := range slices.Backward(pin.Requests) {
		for _, o := range r.Origins {
			known := slices.ContainsFunc(pin.Origins, func(k api.Multiaddr) bool { return k.Equal(o) })
			if !known && len(pin.Origins) < maxOrigins {
				pin.Origins = append(pin.Origins, o)
			}
		}
	}
	if len(pin.Requests) == 1 && isPlain(face) {
		pin.Requests = nil
		if face.Expire != 0 {
			pin.ExpireAt = time.Unix(face.Expire, 0).UTC()
		}
	}
	return pin
}

// isPlain tells whether r stands for the pin of another door.
func isPlain(r api.PinRequest) bool { return r.ID == "" }

func hasPlain(list []api.PinRequest) bool { return slices.ContainsFunc(list, isPlain) }
