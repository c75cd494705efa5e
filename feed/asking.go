package feed

import (
	"context"
	"encoding/binary"
	"math"
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
	return question[statuses](ctx, p, id, request{Op: opPinStatuses, Cids: cids})
}

// statuses are at most MaxAsked: a byte of an answer can be one of 300 bytes of memory.
type statuses []api.PinInfo

// UnmarshalCBOR implements cbor.Unmarshaler.
func (s *statuses) UnmarshalCBOR(b []byte) error {
	const array, one, two, null = 4 << 5, 24, 25, 0xf6 // see RFC 8949, section 3
	if b[0] == null {
		*s = nil
		return nil
	}
	n := math.MaxInt
	switch head := int(b[0]); {
	case head < array || head > array|two:
	case head < array|one:
		n = head - array
	case head == array|one:
		n = int(b[1])
	default:
		n = int(binary.BigEndian.Uint16(b[1:]))
	}
	if n > MaxAsked {
		return api.Invalid.Errorf("not the statuses of %d pins at the most", MaxAsked)
	}
	return api.Decode(b, (*[]api.PinInfo)(s))
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
	b, err := client{p.net}.one(ctx, id, req, questionTime)
	if !connected && !slices.Contains(p.net.Guests(), id) {
		p.net.Dismiss(id) // members have few places
	}
	if err != nil {
		return v, err
	}
	return v, api.Decode(b, &v)
}
