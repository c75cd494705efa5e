package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
)

const (
	// endTimeout bounds the wait of a peer that asked for its own removal to hear of it.
	endTimeout = 2 * time.Second
	// handOverTimeout bounds asking a leader that is to go to hand over: one that hangs
	// does not answer, and the others have another within seconds.
	handOverTimeout = 2 * time.Second
)

var errLastPeer = api.Conflict.Errorf("the last peer cannot be removed")

// remove takes a peer out of the cluster and returns the log index of that. With revoke
// the cluster goes on under a key that the peer does not know; then it may have been
// removed before.
func (m *membership) remove(ctx context.Context, id api.PeerID, revoke bool) (uint64, error) {
	if revoke && m.c.Cluster.JoinPolicy == config.JoinBySecret {
		return 0, api.Conflict.Errorf("the swarm's secret, which %s knows, makes a member here: set cluster.join_policy to %q on every peer first", id, config.JoinByToken)
	}
	if members, err := m.pins.Members(); err != nil || len(members) == 1 && members[0].ID == id {
		return 0, cmp.Or(err, errLastPeer)
	}
	leader, err := m.leaderWithout(ctx, id)
	if err != nil {
		return 0, err
	}
	if leader != m.ids.cluster.ID {
		return m.askRemove(ctx, leader, id, revoke)
	}
	if err := m.removeHere(ctx, id, revoke); err != nil {
		return 0, err
	}
	m.log.Info("peer removed", "peer", id, "revoke", revoke)
	if revoke {
		if err := m.payKey(ctx); err != nil {
			return m.pins.Applied(), keyIsLate(err)
		}
	}
	return m.pins.Applied(), nil
}

// removeFor is remove for another peer that asks. Where this one is to go, it makes
// another lead, if it does itself: whoever asks goes there.
func (m *membership) removeFor(ctx context.Context, id api.PeerID, revoke bool) (uint64, error) {
	if id != m.ids.cluster.ID {
		return m.remove(ctx, id, revoke)
	}
	if leader, ok := m.cons.Leader(); ok && leader == id {
		if err := m.cons.HandOver(ctx); err != nil {
			return 0, err
		}
	}
	return 0, api.Unavailable.Errorf("%s does not lead any more, and is removed by who does", id)
}

// leaderWithout waits for a leader that is not to go: one that is hands over first.
func (m *membership) leaderWithout(ctx context.Context, gone api.PeerID) (api.PeerID, error) {
	for {
		leader, err := m.cons.WaitLeader(ctx)
		if err != nil || leader != gone {
			return leader, err
		}
		if leader == m.ids.cluster.ID {
			err = m.cons.HandOver(ctx)
		} else {
			err = m.askHandOver(ctx, leader)
		}
		if kind := api.KindOf(err); err != nil && kind != api.Unavailable && kind != api.Unknown {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", api.Unavailable.Errorf("%s is not removed: it leads, and another peer has to first; try again: %w", gone, cmp.Or(err, ctx.Err()))
		case <-time.After(keyTick):
		}
	}
}

// askHandOver has the leader make another lead, by asking it for its own removal.
func (m *membership) askHandOver(ctx context.Context, leader api.PeerID) error {
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	_, err := m.calls.RemovePeer(ctx, leader, leader)
	return err
}

// askRemove has the leader remove a peer.
func (m *membership) askRemove(ctx context.Context, leader, id api.PeerID, revoke bool) (uint64, error) {
	call := m.calls.RemovePeer
	if revoke {
		call = m.calls.RevokePeer
	}
	index, err := call(ctx, leader, id)
	if id == m.ids.cluster.ID {
		if err != nil && m.hearsItsEnd(ctx) { // before the answer: the others have hung up
			return m.pins.Applied(), nil
		}
		return index, err // this peer may hear no more of the log
	}
	if err != nil {
		return 0, err
	}
	if err := m.cons.WaitApplied(ctx, index); err != nil || !revoke {
		return index, err
	}
	return index, m.awaitKey(ctx)
}

// hearsItsEnd tells whether this peer's log says, now or in a moment, that it was removed.
func (m *membership) hearsItsEnd(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	for !m.pins.Removed(m.ids.cluster.ID) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(keyTick):
		}
	}
	return true
}

// removeHere is the leader's part.
func (m *membership) removeHere(ctx context.Context, id api.PeerID, revoke bool) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	members, err := m.pins.Members()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(members, func(o api.Member) bool { return o.ID == id }) {
		if revoke && m.pins.Removed(id) {
			return m.oweKey(ctx)
		}
		return api.NotFound.Errorf("%s is not a peer of this cluster", id)
	}
	if len(members) == 1 {
		return errLastPeer
	}
	return m.cons.RemoveMember(ctx, id, revoke)
}
