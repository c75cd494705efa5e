package pinner

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/allocator"
	"github.com/pinfold-cluster/pinfold/api"
)

// decidePin says what record a request for a pin comes to, old being the present one.
// Where it is a client's of the Pinning Service API, drop is the one of old that it
// replaces, nil for none.
func (p *Pinner) decidePin(ctx context.Context, r, old api.Pin, drop *string, v *view) (verdict, error) {
	if r.PinUpdate == r.Cid {
		r.PinUpdate = api.CidUndef
	}
	if err := checkPin(r, v.now); err != nil {
		return verdict{}, err
	}
	var from api.Pin
	if r.PinUpdate.Defined() {
		var err error
		if r, from, err = p.updated(ctx, r, v.now); err != nil {
			return verdict{}, err
		}
	}
	var err error
	if len(r.Requests) > 0 {
		if r, err = p.addRequest(r, old, drop, v.now); err != nil {
			return verdict{}, err
		}
	}
	if r.ReplicationFactorMin, r.ReplicationFactorMax, err = factors(r.ReplicationFactorMin, r.ReplicationFactorMax, p.o); err != nil {
		return verdict{}, err
	}
	if err := p.known(r.UserAllocations, v); err != nil {
		return verdict{}, p.unsettled(err, v)
	}
	pin := record(r, v.now)
	if err := compatible(pin, old); err != nil {
		return verdict{}, err
	}
	if len(r.Requests) == 0 {
		pin = keepRequests(pin, old)
	} else if hasPlain(pin.Requests) {
		pin.Timestamp = old.Timestamp // that of the other door's pin
	}
	if pin.Size == 0 {
		pin.Size = old.Size
	}
	had, err := p.place(&pin, r, old, from, v)
	if err != nil {
		return verdict{}, err
	}
	return verdict{pin: pin, had: had}, checkRecord(pin)
}

// record is what is kept of request r, but for its holders.
func record(r api.Pin, now time.Time) api.Pin {
	p := r
	p.UserAllocations, p.Allocations, p.Leaving = nil, nil, nil
	p.Revision = 0
	p.Timestamp = now.UTC().Truncate(time.Second)
	if !p.Expires() {
		p.ExpireAt = time.Time{}
	} else if whole := p.ExpireAt.UTC().Truncate(time.Second); whole.Before(p.ExpireAt) {
		p.ExpireAt = whole.Add(time.Second) // the state keeps seconds; none may be lost
	}
	if p.Type == 0 {
		p.Type = api.PinData
	}
	if p.Type == api.PinData {
		p.MaxDepth = p.Mode.MaxDepth()
	}
	return p
}

// updated fills in, from the pin that r updates, what r does not say itself.
func (p *Pinner) updated(ctx context.Context, r api.Pin, now time.Time) (req, from api.Pin, err error) {
	from, err = p.pins.Get(ctx, r.PinUpdate)
	if err != nil {
		return r, from, err
	}
	if from.Type != api.PinData {
		return r, from, api.Invalid.Errorf("cannot update from %s, which is a %s", from.Cid, from.Type)
	}
	if r.ReplicationFactorMin == 0 && r.ReplicationFactorMax == 0 {
		r.ReplicationFactorMin, r.ReplicationFactorMax = from.ReplicationFactorMin, from.ReplicationFactorMax
	}
	if r.Name == "" {
		r.Name = from.Name
	}
	if r.Metadata == nil {
		r.Metadata = from.Metadata
	}
	if r.Origins == nil {
		r.Origins = from.Origins
	}
	if r.Followers == nil {
		r.Followers = from.Followers
	}
	if r.Mode == api.PinRecursive {
		r.Mode = from.Mode
	}
	if !r.Expires() && !from.ExpiredAt(now) {
		r.ExpireAt = from.ExpireAt
	}
	return r, from, nil
}

// compatible tells whether pin may take the place of old.
func compatible(pin, old api.Pin) error {
	switch {
	case !old.Cid.Defined():
		return nil
	case pin.Type != old.Type:
		return api.Conflict.Errorf("cannot repin CID with different tracking method, clear state with pin rm to proceed. New: %s. Was: %s", pin.Type, old.Type)
	case old.Type == api.PinData && old.MaxDepth < 0 && pin.MaxDepth >= 0:
		return api.Conflict.Errorf("cannot repin a CID which is already pinned in recursive mode (new pin is pinned as direct). Unpin it first.")
	}
	return nil
}

// place gives pin its holders. Those that it had and are no more to hold it leave
// only once the others have their copies. It returns who has the bytes already.
func (p *Pinner) place(pin *api.Pin, r, old, from api.Pin, v *view) (had []api.PeerID, err error) {
	if pin.Type == api.PinMeta || pin.Everywhere() {
		return nil, nil
	}
	// An add has stored the blocks on the peers that it names.
	stored := v.only(r.Allocations)
	had = union(holders(old, v), stored)
	prefer := slices.Concat(r.UserAllocations, stored)
	if !old.Cid.Defined() {
		// What an update shares with its source is on the source's holders.
		prefer = append(prefer, from.Allocations...)
	}
	req := p.request(*pin, had, v)
	req.Prefer = prefer
	chosen, err := allocator.Allocate(req)
	if err != nil {
		return nil, p.unsettled(err, v)
	}
	pin.Allocations, pin.Leaving = chosen, without(had, chosen)
	v.promise(*pin, had, p.meanSize())
	return had, nil
}

// request is one for the holders of pin, of which present are some.
func (p *Pinner) request(pin api.Pin, present []api.PeerID, v *view) allocator.Request {
	return allocator.Request{
		Min: pin.ReplicationFactorMin, Max: pin.ReplicationFactorMax, Size: pin.Size, Seed: pin.Cid.KeyString(),
		Holders: present, Peers: v.candidates(present), SpreadBy: p.o.SpreadBy, Members: len(v.members),
	}
}

// unsettled makes a lack of peers a reason to try again shortly after start, and after
// a peer has come, when some may not have been heard yet.
func (p *Pinner) unsettled(err error, v *view) error {
	again := errors.Is(err, api.Unavailable) && (len(v.fresh) > 0 || time.Since(p.started) < p.o.Settle)
	if errors.Is(err, api.Invalid) { // more copies than peers, by a view that may be a little old
		members, e := p.members.read(p.pins, v.now)
		again = e == nil && len(members) > len(v.members)
	}
	if again {
		return retry.Errorf("%w", err)
	}
	return err
}

// decideUnpin says whether old may go.
func decideUnpin(old api.Pin) (verdict, error) {
	switch {
	case !old.Cid.Defined():
		return verdict{}, api.NotFound.Errorf("pin is not part of the pinset")
	case old.Type == api.PinShard:
		return verdict{}, api.Conflict.Errorf("cannot unpin a shard directly. Unpin content root CID instead")
	case old.Type == api.PinClusterDAG:
		return verdict{}, api.Conflict.Errorf("cannot unpin a Cluster DAG directly. Unpin content root CID instead")
	}
	return verdict{pin: old, delete: true}, nil
}

// holders are the members that hold pin, as far as the record tells.
func holders(pin api.Pin, v *view) []api.PeerID {
	if !pin.Cid.Defined() || pin.Type == api.PinMeta {
		return nil
	}
	if pin.Everywhere() {
		return slices.Clone(v.members)
	}
	return v.only(union(pin.Allocations, pin.Leaving))
}

// union is a and then what only b has.
func union(a, b []api.PeerID) []api.PeerID {
	out := slices.Clone(a)
	for _, p := range b {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// without is what only a has, sorted.
func without(a, b []api.PeerID) []api.PeerID {
	var out []api.PeerID
	for _, p := range a {
		if !slices.Contains(b, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}
