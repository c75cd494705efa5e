package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/rpc"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	defaultInvitation = 24 * time.Hour
	longestInvitation = 365 * 24 * time.Hour
	tokenAddresses    = 12 // as many of them go into a token
)

// membership admits peers to the cluster and removes them. What it decides on the
// leader, other peers forward to it.
type membership struct {
	ids identities
	*keyring
	c     config.Config
	host  *p2p.Host
	data  *p2p.DataHost
	cons  *consensus.Consensus
	pins  *state.State
	calls *rpc.Client
	log   *slog.Logger
}

// invite makes a token with which one peer can join within ttl; 0 is a day.
func (m *membership) invite(ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = defaultInvitation
	}
	if ttl < time.Second || ttl > longestInvitation {
		return "", api.Invalid.Errorf("a token's time must be between a second and a year")
	}
	if m.pins.Key().Owed {
		return "", errKeyOwed
	}
	cluster := m.get()
	expires := time.Now().Add(ttl)
	credential, err := p2p.NewCredential(cluster.Private, expires)
	if err != nil {
		return "", err
	}
	addresses, err := m.addresses()
	if err != nil {
		return "", err
	}
	return p2p.Token{
		Name: cluster.Name, Secret: m.c.Cluster.Host.Secret, Key: cluster.Key, Incarnation: cluster.Incarnation,
		Addresses: addresses, Credential: credential, Expires: expires,
	}.Encode()
}

// addresses are where members can be reached, this peer's first, as many as go into a
// token or link.
func (m *membership) addresses() ([]api.Multiaddr, error) {
	addresses := m.host.Addrs()
	members, err := m.pins.Members()
	if err != nil {
		return nil, err
	}
	for _, other := range members {
		if other.ID != m.ids.cluster.ID {
			addresses = append(addresses, withPeer(other)...)
		}
	}
	return addresses[:min(len(addresses), tokenAddresses)], nil
}

func withPeer(member api.Member) []api.Multiaddr {
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: member.ID, Addrs: member.Addresses})
	if err != nil {
		return nil // a member's ID has a text form
	}
	return addrs
}

// join answers a request to join, or a member's to renew its record. Any member takes
// it; only another member may speak for somebody else.
func (m *membership) join(ctx context.Context, from api.PeerID, req api.JoinRequest) (api.JoinAnswer, error) {
	if req.ID == "" {
		req.ID = from
	}
	if req.ID != from {
		if err := m.host.Check(ctx, from); err != nil {
			return api.JoinAnswer{}, api.Denied.Errorf("only a member may ask for another peer: %w", err)
		}
	}
	leader, err := m.cons.WaitLeader(ctx)
	if err != nil {
		return api.JoinAnswer{}, err
	}
	if leader != m.ids.cluster.ID {
		if from != req.ID { // forwarded once already: the leader has moved
			return api.JoinAnswer{}, api.Unavailable.Errorf("the leader has changed; try again")
		}
		return m.calls.Join(ctx, leader, req)
	}
	return m.admit(ctx, req)
}

// errKeyOwed is for what has to wait until the cluster's key is renewed.
var errKeyOwed = api.Unavailable.Errorf("the cluster's key is being renewed, since a peer was removed with --revoke; try again in a moment")

// admit decides on a joiner: the leader's part.
func (m *membership) admit(ctx context.Context, req api.JoinRequest) (api.JoinAnswer, error) {
	if _, err := m.cons.Ready(ctx); err != nil {
		return api.JoinAnswer{}, err
	}
	release, err := m.take(ctx)
	if err != nil {
		return api.JoinAnswer{}, err
	}
	defer release()
	if err := m.takeKey(); err != nil {
		return api.JoinAnswer{}, err
	}
	cluster := m.get()
	op := api.Op{Type: api.OpJoin, Time: time.Now().Unix(), KeyNumber: m.pins.Key().Number}
	if len(req.Credential) > 0 {
		nonce, expires, err := p2p.VerifyCredential(cluster.Key, req.Credential, time.Now())
		if err != nil && op.KeyNumber > 0 {
			return api.JoinAnswer{}, api.Denied.Errorf("this token cannot be used: %w; those made before a peer was removed with --revoke are void: make a new one with 'cluster-ctl peers invite'", err)
		}
		if err != nil {
			return api.JoinAnswer{}, api.Denied.Errorf("this token cannot be used: %w", err)
		}
		op.Credential, op.Expires = nonce, expires.Unix()
	} else if err := m.mayComeWithout(req.ID); err != nil {
		return api.JoinAnswer{}, err
	}
	if req.DataID == "" || req.DataID == req.ID {
		return api.JoinAnswer{}, api.Invalid.Errorf("a peer that joins must name its data host")
	}
	certificate, err := cluster.Certify(req.ID, req.DataID)
	if err != nil {
		return api.JoinAnswer{}, err
	}
	member := api.Member{ID: req.ID, DataID: req.DataID, Name: req.Name, Addresses: req.Addresses,
		DataAddresses: req.DataAddresses, Certificate: certificate}
	op.Member = &member
	out, err := m.cons.Commit(ctx, []api.Op{op})
	if err != nil {
		return api.JoinAnswer{}, err
	}
	if out[0].Status == api.OpUsed {
		return api.JoinAnswer{}, api.Denied.Errorf("this token was used by another peer, or %s was removed: make a new one with 'cluster-ctl peers invite'", req.ID)
	}
	if out[0].Status == api.OpStale {
		return api.JoinAnswer{}, errKeyOwed
	}
	if err := m.cons.AddMember(ctx, member); err != nil {
		return api.JoinAnswer{}, err
	}
	m.log.Info("peer admitted", "peer", member.ID, "name", member.Name)
	members, err := m.pins.Members()
	return api.JoinAnswer{ClusterKey: cluster.Private, Incarnation: cluster.Incarnation, Certificate: certificate,
		Members: members, Index: out[0].Index}, err
}

// mayComeWithout tells whether a peer needs no credential: it is a member, or the
// operator chose that knowing the secret is enough.
func (m *membership) mayComeWithout(id api.PeerID) error {
	if m.pins.Removed(id) {
		return api.Denied.Errorf("peer %s was removed from this cluster; it can come back with a new token", id)
	}
	members, err := m.pins.Members()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(members, func(o api.Member) bool { return o.ID == id }) {
		return nil
	}
	return m.secretIsEnough()
}

// secretIsEnough returns nil where who knows the swarm's secret may be a member: the
// operator chose so, and it was not told to others. Else the error is Denied.
func (m *membership) secretIsEnough() error {
	if m.c.Cluster.JoinPolicy != config.JoinBySecret {
		return api.Denied.Errorf("joining takes a token: make one with 'cluster-ctl peers invite' (or set cluster.join_policy to %q)", config.JoinBySecret)
	}
	if k := m.pins.Key(); k.Owed || k.Number > 0 {
		return api.Denied.Errorf("a peer was removed from this cluster with --revoke, and it knows the swarm's secret: joining takes a token, whatever cluster.join_policy says; make one with 'cluster-ctl peers invite'")
	}
	if m.linkMade() {
		return api.Denied.Errorf("a follow link of this cluster was made, and the swarm's secret is in it: joining takes a token, whatever cluster.join_policy says; make one with 'cluster-ctl peers invite'")
	}
	return nil
}

// keepRecord keeps this peer's own record in the state true: its name and addresses
// may have changed since it was last here. It ends with an error once this peer has
// been removed from the cluster.
func (m *membership) keepRecord(ctx context.Context) error {
	tick := time.NewTicker(recordPeriod)
	defer tick.Stop()
	for {
		if m.pins.Removed(m.ids.cluster.ID) {
			return errRemoved
		}
		if err := m.takeKey(); err != nil {
			m.log.Warn("this peer cannot go by the cluster's new key", "err", err)
		}
		if err := m.renewRecord(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("this peer's record is not renewed yet", "err", err)
		}
		if err := m.dropOld(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("members of an earlier incarnation are not removed yet", "err", err)
		}
		if err := m.renewKey(ctx); err != nil && ctx.Err() == nil {
			m.log.Info("the cluster's key is not renewed yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const (
	recordPeriod  = 2 * time.Second
	recordTimeout = 10 * time.Second
)

func (m *membership) renewRecord(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	own := api.JoinRequest{ID: m.ids.cluster.ID, DataID: m.ids.data.ID, Name: m.c.Cluster.PeerName, DataAddresses: m.data.Addrs()}
	for _, a := range m.host.Addrs() {
		info, err := peer.AddrInfoFromP2pAddr(a)
		if err != nil {
			return err
		}
		own.Addresses = append(own.Addresses, info.Addrs...)
	}
	members, err := m.pins.Members()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(o api.Member) bool { return o.ID == own.ID })
	if i >= 0 && sameRecord(members[i], own) && m.certified(members[i]) {
		return nil
	}
	leader, err := m.cons.WaitLeader(ctx)
	if err != nil {
		return err
	}
	if leader == own.ID {
		if _, err := m.cons.Ready(ctx); err != nil {
			return err
		}
		if i < 0 { // the first peer of a new cluster
			return m.commitRecord(ctx, own)
		}
		_, err = m.admit(ctx, own)
		return err
	}
	_, err = m.calls.Join(ctx, leader, own)
	return err
}

// dropOld removes, on the leader, the members that were left behind when the cluster was
// recovered from another: their certificates are of an earlier incarnation.
func (m *membership) dropOld(ctx context.Context) error {
	self := m.ids.cluster.ID
	if leader, ok := m.cons.Leader(); !ok || leader != self {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if _, err := m.cons.Ready(ctx); err != nil {
		return err
	}
	members, err := m.pins.Members()
	if err != nil {
		return err
	}
	for _, o := range members {
		if o.ID == self || m.get().OfIncarnation(o.Certificate) {
			continue
		}
		if err := m.cons.RemoveMember(ctx, o.ID, false); err != nil {
			return err
		}
		m.log.Warn("peer of an earlier incarnation removed", "peer", o.ID, "name", o.Name)
	}
	return nil
}

// certified tells whether a member's certificate is of this incarnation and the present
// key.
func (m *membership) certified(member api.Member) bool {
	_, err := m.get().Verify(member.Certificate)
	return err == nil
}

// commitRecord puts the leader's own record into the state.
func (m *membership) commitRecord(ctx context.Context, own api.JoinRequest) error {
	_, err := m.cons.Commit(ctx, []api.Op{{Type: api.OpJoin, Time: time.Now().Unix(), Member: &api.Member{
		ID: own.ID, DataID: own.DataID, Name: own.Name, Addresses: own.Addresses,
		DataAddresses: own.DataAddresses, Certificate: m.get().Certificate}}})
	return err
}

func sameRecord(member api.Member, own api.JoinRequest) bool {
	equal := func(a, b api.Multiaddr) bool { return a.Equal(b) }
	return member.DataID == own.DataID && member.Name == own.Name &&
		slices.EqualFunc(member.Addresses, own.Addresses, equal) && slices.EqualFunc(member.DataAddresses, own.DataAddresses, equal)
}

// roster is what the hosts need to know of the members.
func roster(pins *state.State, log *slog.Logger) p2p.Roster {
	members := func() []api.Member {
		members, err := pins.Members()
		if err != nil {
			log.Error("members cannot be read", "err", err)
		}
		return members
	}
	listed := func(is func(api.Member) bool) bool { return slices.ContainsFunc(members(), is) }
	return p2p.Roster{
		Members: func() []peer.AddrInfo {
			all := members()
			out := make([]peer.AddrInfo, 0, len(all))
			for _, m := range all {
				out = append(out, peer.AddrInfo{ID: m.ID, Addrs: m.Addresses})
			}
			return out
		},
		Removed: pins.Removed,
		Lists: func(id, dataID peer.ID) bool {
			return listed(func(m api.Member) bool { return m.ID == id && m.DataID == dataID })
		},
		ListsData: func(dataID peer.ID) bool {
			return listed(func(m api.Member) bool { return m.DataID == dataID })
		},
	}
}

// bootstrapJoin asks each of the members to let this peer in, the first that answers
// deciding. It is the joiner's side.
func bootstrapJoin(ctx context.Context, host *p2p.Host, calls *rpc.Client, members []peer.AddrInfo, req api.JoinRequest) (api.JoinAnswer, error) {
	var errs []error
	for _, m := range members {
		if err := host.Connect(ctx, m); err != nil {
			errs = append(errs, err)
			continue
		}
		answer, err := calls.Join(ctx, m.ID, req)
		if err == nil {
			return answer, nil
		}
		if api.KindOf(err) == api.Denied || api.KindOf(err) == api.Invalid {
			return answer, err
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", m.ID, err))
	}
	return api.JoinAnswer{}, errors.Join(errs...)
}
