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
	// admissionTick is between looks at whose time is over, and at whom to tell others of.
	admissionTick = time.Second
	// admissionsTold is how many data hosts one message tells of at most.
	admissionsTold = 256
	// admissionsQueued bounds those that wait to be told.
	admissionsQueued = 4 * admissionsTold
)

// admissions lets the data hosts of followers fetch content from this peer's node, as
// many as there is room for.
type admissions struct {
	data *p2p.DataHost
	max  int
	log  *slog.Logger

	mu    sync.Mutex
	until map[api.PeerID]time.Time
	news  []api.PeerID // to be told to other members
}

func newAdmissions(data *p2p.DataHost, max int, log *slog.Logger) *admissions {
	return &admissions{data: data, max: max, log: log, until: map[api.PeerID]time.Time{}}
}

// admit lets a data host in, for a while from now on. Where there is no room, that one
// goes whose time ends first among those that are not connected.
func (a *admissions) admit(id api.PeerID, tell bool) {
	if id == "" || id == a.data.ID() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, in := a.until[id]; !in && len(a.until) >= a.max && !a.makeRoom() {
		a.log.Debug("a follower may not fetch content now: there are too many", "data_host", id)
		return
	}
	a.until[id] = time.Now().Add(admittedFor)
	a.data.Admit(id)
	if tell && len(a.news) < admissionsQueued {
		a.news = append(a.news, id)
	}
}

// makeRoom dismisses one that is not connected. Under mu.
func (a *admissions) makeRoom() bool {
	var first api.PeerID
	for id, at := range a.until {
		if a.data.Network().Connectedness(id) != network.Connected && (first == "" || at.Before(a.until[first])) {
			first = id
		}
	}
	if first != "" {
		a.dismiss(first)
	}
	return first != ""
}

func (a *admissions) dismiss(id api.PeerID) {
	delete(a.until, id)
	a.data.Dismiss(id)
}

// has tells whether a data host may fetch.
func (a *admissions) has(id api.PeerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, in := a.until[id]
	return in
}

// expire dismisses those whose time is over, and gives whom to tell others of.
func (a *admissions) expire(now time.Time) (news []api.PeerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.until {
		if now.After(at) {
			a.dismiss(id)
		}
	}
	n := min(len(a.news), admissionsTold)
	news, a.news = a.news[:n:n], a.news[n:]
	return news
}

// run dismisses those whose time is over until ctx ends. What is to be told of others
// goes to tell, where that is not nil.
func (a *admissions) run(ctx context.Context, tell func(context.Context, []api.PeerID) error) error {
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
