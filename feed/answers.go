package feed

import (
	"context"
	"errors"

	"github.com/pinfold-cluster/pinfold/api"
)

var _ source = (*Publisher)(nil)

// Followers lists the followers that are connected with this peer.
func (p *Publisher) Followers() []Peer {
	return p.met.of(p.net.Guests())
}

// hello implements source. Who finds no place is told whom else to ask, and where the log
// ends. What else follows from a hello does so for news only.
func (p *Publisher) hello(ctx context.Context, from api.PeerID, h hello) (hello, error) {
	member := p.net.Check(ctx, from) == nil
	own := introduction(p.net, p.o.Name, p.o.Version, p.o.Data)
	var news bool
	own.Admitted, news = p.met.receive(p.net, from, member)
	own.Neighbours = p.met.some(from, h)
	if !own.Admitted && p.o.InTouch() {
		var err error
		if own.Beacon, err = p.signedBeacon(); err != nil {
			return own, err
		}
	}
	if !member && news {
		who := h.peer(p.net, from, false)
		p.met.add(who)
		p.o.Met(who)
		p.nudge() // there may be somebody now to tell
	}
	return own, nil
}

// leadsOn tells whether this peer knows all that came after a pinset at index.
func (p *Publisher) leadsOn(index uint64, digest [32]byte) bool {
	if e, ok := p.ring.first(index); ok {
		return e.before == digest
	}
	return p.st.Digest().Pins == digest
}

// since implements source: the batches past index, and a beacon once there are no more.
// One that was removed while it was away knows of no leader, and may go on for ever.
func (p *Publisher) since(ctx context.Context, index uint64, digest [32]byte, send func([]byte) error) error {
	if index < p.st.Applied() {
		// The state may be ahead of the ring by a moment.
		for waited := settleStep; !p.leadsOn(index, digest); waited += settleStep {
			if waited > settleTime {
				return api.NotFound.Errorf("what came after index %d is not here any more", index)
			}
			if err := sleep(ctx, settleStep); err != nil {
				return err
			}
		}
	}
	for {
		news := p.ring.after(index, messageBytes)
		if len(news) == 0 {
			break
		}
		index = news[len(news)-1].index
		m, err := p.sign(kindBatches, batchesBody(encodings(news)))
		if err != nil {
			return err
		}
		if err := send(m); err != nil {
			return ignoreEnough(err)
		}
	}
	if !p.o.InTouch() {
		return astray.Errorf("this peer has lost touch with its cluster: where the log ends is not known here")
	}
	m, err := p.signedBeacon()
	if err != nil {
		return err
	}
	return ignoreEnough(send(m))
}

func (p *Publisher) signedBeacon() ([]byte, error) {
	body, err := p.beacon()
	if err != nil {
		return nil, err
	}
	return p.sign(kindBeacon, body)
}

// ignoreEnough takes an answer that is as long as may be, or of which no more is read, for
// one that is complete: the asker asks for the rest.
func ignoreEnough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (p *Publisher) root(ctx context.Context) ([]byte, error) { return p.trees.root(ctx) }

func (p *Publisher) page(ctx context.Context, hash []byte) ([]byte, error) {
	return p.trees.page(ctx, hash)
}

func (p *Publisher) coverage(context.Context) ([]byte, error) {
	body, ok := p.o.Coverage()
	if !ok {
		return nil, api.NotFound.Errorf("there is no table of coverage")
	}
	return p.sign(kindCoverage, body)
}

func (p *Publisher) member(context.Context, request) ([]byte, error) {
	return nil, api.Unsupported.Errorf("this is no follower")
}
