package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	// admittedFor is how long a follower may fetch content after it said hello; it says so
	// again every ten minutes while it is connected.
	admittedFor = 30 * time.Minute
	// shareAdmission is the least between two times that others are told of one follower.
	shareAdmission = 5 * time.Minute
	// admissionTick is between looks at whose time is over, and at whom to tell others of.
	admissionTick = time.Second
	// admissionsTold is how many data hosts one message tells of at most.
	admissionsTold = 256
	// admissionsQueued bounds those that wait to be told.
	admissionsQueued = 4 * admissionsTold
)

// An admission is a data host that may fetch content, and who told of it from where: see
// feed.Peer.
type admission struct {
	Host api.PeerID `cbor:"1,keyasint"`
	Who  api.PeerID `cbor:"2,keyasint"`
	From string     `cbor:"3,keyasint"`
}

// admissions lets the data hosts of followers fetch content from this peer's node, as
// many as there is room for. Those that are connected are kept.
type admissions struct {
	data *p2p.DataHost
	log  *slog.Logger

	mu   sync.Mutex
	in   introductions
	told map[api.PeerID]int // how many tell of a data host
	news []admission        // to be told to other members
}

func newAdmissions(data *p2p.DataHost, max int, log *slog.Logger) *admissions {
	connected := func(in *introduction) bool { return data.Network().Connectedness(in.ID) == network.Connected }
	return &admissions{data: data, log: log, in: newIntroductions(max, connected), told: map[api.PeerID]int{}}
}

// admit lets the data host of a follower in, for a while from now on.
func (a *admissions) admit(f admission, tell bool) {
	if f.Host == "" || f.Host == a.data.ID() {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.in.by[f.Who]
	lost, ok := a.in.add(f.Who, introduction{AddrInfo: peer.AddrInfo{ID: f.Host}, from: f.From, at: now})
	if !ok {
		a.log.Debug("a data host may not fetch content now: its follower has another, or there are too many", "peer", f.Who, "data_host", f.Host)
		return
	}
	if lost != "" {
		a.dismiss(lost)
	}
	if old == nil {
		a.told[f.Host]++
		a.data.Admit(f.Host)
	}
	if in := a.in.by[f.Who]; tell && len(a.news) < admissionsQueued && now.Sub(in.shared) > shareAdmission {
		in.shared = now
		a.news = append(a.news, f)
	}
}

// dismiss notes that one follower less tells of a data host. Under mu.
func (a *admissions) dismiss(id api.PeerID) {
	if a.told[id]--; a.told[id] <= 0 {
		delete(a.told, id)
		a.data.Dismiss(id)
	}
}

// has tells whether a data host may fetch.
func (a *admissions) has(id api.PeerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told[id] > 0
}

// expire dismisses those whose time is over, and gives whom to tell others of.
func (a *admissions) expire(now time.Time) (news []admission) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for who, in := range a.in.by {
		if now.Sub(in.at) > admittedFor {
			delete(a.in.by, who)
			a.dismiss(in.ID)
		}
	}
	n := min(len(a.news), admissionsTold)
	news, a.news = a.news[:n:n], a.news[n:]
	return news
}

// run dismisses those whose time is over until ctx ends. What is to be told of others
// goes to tell, where that is not nil.
func (a *admissions) run(ctx context.Context, tell func(context.Context, []admission) error) error {
	tick := time.NewTicker(admissionTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		news := a.expire(time.Now())
		if len(news) == 0 || tell == nil {
			continue
		}
		if err := tell(ctx, news); err != nil && ctx.Err() == nil {
			a.log.Warn("other peers are not told whom followers' content may go to", "err", err)
		}
	}
}

// membersProtocol is what a data host is asked on for those of the cluster's members: a
// follower is connected with few of them, and content may be on any.
const membersProtocol protocol.ID = "/pinfold/data/members/1"

const (
	membersTold    = 16       // at most, with
	addressesTold  = 4        // each, in
	membersBytes   = 16 << 10 // bytes
	membersTimeout = 10 * time.Second
)

type memberHost struct {
	ID        api.PeerID      `cbor:"1,keyasint"`
	Addresses []api.Multiaddr `cbor:"2,keyasint"`
}

// tellMembers answers membersProtocol from what list gives.
func tellMembers(data *p2p.DataHost, list func() []peer.AddrInfo) {
	data.SetStreamHandler(membersProtocol, func(s network.Stream) {
		defer s.Close()
		_ = s.SetDeadline(time.Now().Add(membersTimeout)) // as all streams of this transport can
		hosts := []memberHost{}
		for _, m := range list() {
			if len(hosts) < membersTold {
				hosts = append(hosts, memberHost{m.ID, m.Addrs[:min(len(m.Addrs), addressesTold)]})
			}
		}
		b, err := api.Encode(hosts)
		if err == nil {
			_, err = s.Write(b)
		}
		if err != nil {
			_ = s.Reset()
		}
	})
}

// askMembers asks a member's data host for those of the others.
func askMembers(ctx context.Context, data *p2p.DataHost, id api.PeerID) ([]peer.AddrInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, membersTimeout)
	defer cancel()
	s, err := data.NewStream(network.WithNoDial(ctx, "members"), id, membersProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(s, membersBytes+1))
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	var hosts []memberHost
	if err := api.Decode(b, &hosts); err != nil {
		return nil, err
	}
	if len(hosts) > membersTold {
		return nil, api.Invalid.Errorf("%d members are too many", len(hosts))
	}
	out := make([]peer.AddrInfo, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, peer.AddrInfo{ID: h.ID, Addrs: h.Addresses[:min(len(h.Addresses), addressesTold)]})
	}
	return out, nil
}
