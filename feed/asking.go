package feed

import (
	"context"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// questionTime bounds how long a follower may take to answer a member.
const questionTime = 10 * time.Second

// Report asks a follower how it is. As PinStatuses, it needs a connection
// or an address that Connect knows; the error is Unavailable where the follower does not
// answer. What it says may be false.
func (p *Publisher) Report(ctx context.Context, id api.PeerID) (Report, error) {
	return question[Report](ctx, p, id, request{Op: opStatus})
}

// PinStatuses asks a follower about at most MaxAsked pins.
func (p *Publisher) PinStatuses(ctx context.Context, id api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
	return question[[]api.PinInfo](ctx, p, id, request{Op: opPinStatuses, Cids: cids})
}

// Challenge has a follower show that it has blocks.
func (p *Publisher) Challenge(ctx context.Context, id api.PeerID, c Challenge) (Answer, error) {
	enc, err := api.Encode(c)
	if err != nil {
		return Answer{}, err
	}
	return question[Answer](ctx, p, id, request{Op: opChallenge, Challenge: enc})
}

func question[T any](ctx context.Context, p *Publisher, id api.PeerID, req request) (v T, err error) {
	connected := slices.Contains(p.net.Connected(), id)
	err = client{p.net}.value(ctx, id, req, questionTime, &v)
	if !connected && !slices.Contains(p.net.Guests(), id) {
		p.net.Dismiss(id) // members have few places
	}
	return v, err
}
