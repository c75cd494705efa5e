package feed

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Report is what a follower tells members of itself. Nothing of it is proven but what a
// Challenge shows.
type Report struct {
	Index    uint64 `cbor:"1,keyasint"`
	Digest   []byte `cbor:"2,keyasint"`
	Settled  bool   `cbor:"3,keyasint,omitempty"`
	Stopped  string `cbor:"4,keyasint,omitempty"`
	Hold     string `cbor:"5,keyasint,omitempty"` // all, allocated or share
	Capacity uint64 `cbor:"6,keyasint,omitempty"` // bytes that it means to hold; 0: no bound
	Pins     uint64 `cbor:"7,keyasint,omitempty"` // that it holds
	Bytes    uint64 `cbor:"8,keyasint,omitempty"`
	Claim    []byte `cbor:"9,keyasint,omitempty"`  // ranges that it holds: see Claim
	Wanted   uint64 `cbor:"10,keyasint,omitempty"` // pins that it is to hold
	Failed   uint64 `cbor:"11,keyasint,omitempty"` // pins of them that it could not get so far
	Latest   uint64 `cbor:"12,keyasint,omitempty"` // highest index that it has heard a member sign
	Free     uint64 `cbor:"13,keyasint,omitempty"` // bytes that it may still take
}

// Answers are what a follower tells members that ask.
type Answers interface {
	Report(ctx context.Context) (Report, error)
	// PinStatuses tells of at most MaxAsked CIDs.
	PinStatuses(ctx context.Context, cids []api.Cid) ([]api.PinInfo, error)
	// Challenge answers one from what is on this machine alone: see Challenge.Answer.
	Challenge(ctx context.Context, c Challenge) (Answer, error)
}

// MaxAsked is how many CIDs PinStatuses takes at once.
const MaxAsked = 64

var _ source = (*Follower)(nil)

// hello implements source.
func (f *Follower) hello(ctx context.Context, from api.PeerID, h hello) (hello, error) {
	member := f.net.Check(ctx, from) == nil
	own := introduction(f.net, f.o.Name, f.o.Version, f.o.Data)
	var news bool
	own.Admitted, news = f.met.receive(f.net, from, member)
	own.Neighbours = f.met.some(from, h)
	if news {
		who := h.peer(f.net, from, member)
		f.met.add(who)
		f.o.Met(who)
	}
	return own, nil
}

// since implements source, from what members signed.
func (f *Follower) since(_ context.Context, index uint64, digest [32]byte, send func([]byte) error) error {
	f.mu.Lock()
	own, last := f.st.Applied(), f.words.beacon(time.Now()).raw
	list, ok := f.past.after(index, digest)
	f.mu.Unlock()
	if index < own && !ok {
		return api.NotFound.Errorf("what came after index %d is not here any more", index)
	}
	if last != nil {
		list = append(list, last)
	}
	for _, raw := range list {
		if err := send(raw); err != nil {
			return ignoreEnough(err)
		}
	}
	return nil
}

// root implements source. Where there is none, or an old one, there may be a newer soon.
func (f *Follower) root(context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tree == nil || time.Since(f.tree.made) > refreshAfter {
		f.wanted = true
		f.nudge()
	}
	if f.tree == nil {
		return nil, api.NotFound.Errorf("this follower has no signed root")
	}
	return f.tree.statement, nil
}

// page implements source.
func (f *Follower) page(ctx context.Context, hash []byte) ([]byte, error) {
	f.mu.Lock()
	tree := f.tree
	f.mu.Unlock()
	var h Hash
	if len(hash) != len(h) {
		return nil, api.Invalid.Errorf("the hash of a page has %d bytes", len(h))
	}
	if tree == nil {
		return nil, api.NotFound.Errorf("there are no pages here")
	}
	return tree.Page(ctx, Hash(hash))
}

// member implements source.
func (f *Follower) member(ctx context.Context, req request) ([]byte, error) {
	if f.o.Answers == nil {
		return nil, api.Unsupported.Errorf("this follower tells nothing")
	}
	switch req.Op {
	case opStatus:
		r, err := f.o.Answers.Report(ctx)
		return encoded(r, err)
	case opPinStatuses:
		if len(req.Cids) > MaxAsked {
			return nil, api.TooLarge.Errorf("%d CIDs: at most %d at once", len(req.Cids), MaxAsked)
		}
		infos, err := f.o.Answers.PinStatuses(ctx, req.Cids)
		return encoded(infos, err)
	}
	var c Challenge
	if err := api.Decode(req.Challenge, &c); err != nil {
		return nil, err
	}
	a, err := f.o.Answers.Challenge(ctx, c)
	return encoded(a, err)
}

func encoded(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := api.Encode(v)
	if err == nil && len(b) > maxFrame {
		err = api.TooLarge.Errorf("an answer of %d bytes", len(b))
	}
	return b, err
}
