package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"
)

const (
	certificateProtocol protocol.ID = "/pinfold/certificate/1"
	// certificateTimeout bounds how long a peer may take to show its certificate.
	certificateTimeout = 10 * time.Second
	memberTag          = "member"
)

// Roster is what a peer's replicated state says about the members of its cluster.
// Both functions may be nil, and are called often and concurrently.
type Roster struct {
	// Members returns who was admitted, with the addresses given then.
	Members func() []peer.AddrInfo
	// Removed tells whether the peer with this (cluster host's) ID was a member and
	// is no more.
	Removed func(peer.ID) bool
}

func (r Roster) members() []peer.AddrInfo {
	if r.Members == nil {
		return nil
	}
	return r.Members()
}

func (r Roster) removed(id peer.ID) bool { return r.Removed != nil && r.Removed(id) }

// Members knows which peers of one host are certified members of the cluster, and
// shows this peer's own certificate to those that ask.
type Members struct {
	host   host.Host
	data   bool // the host is a data host: certificates must name its peers as such
	roster Roster
	log    *slog.Logger

	mu        sync.Mutex
	cluster   *Cluster
	certified map[peer.ID]Certificate // by the peer's ID on this host
}

func newMembers(h host.Host, data bool, c *Cluster, r Roster, log *slog.Logger) *Members {
	m := &Members{host: h, data: data, roster: r, log: log, cluster: c, certified: map[peer.ID]Certificate{}}
	if len(c.Certificate) > 0 {
		h.SetStreamHandler(certificateProtocol, m.show)
	}
	return m
}

// Check returns nil if the peer id of this host is a certified member that has not
// been removed. It asks the peer for its certificate the first time, over a
// connection that there is, for at most 10 s. The error wraps ErrDenied where the
// peer is known not to be a member.
func (m *Members) Check(ctx context.Context, id peer.ID) error {
	cert, ok := m.known(id)
	if !ok {
		return m.ask(ctx, id)
	}
	if m.roster.removed(cert.ID) {
		m.Drop(cert.ID)
		return removedError(cert.ID)
	}
	return nil
}

func removedError(id peer.ID) error { return fmt.Errorf("peer %s was removed: %w", id, ErrDenied) }

// Certified returns the certificates of the members that have shown theirs.
func (m *Members) Certified() []Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.certified))
}

// Drop forgets the member whose cluster host's ID is given, and closes the
// connections to it.
func (m *Members) Drop(member peer.ID) {
	m.mu.Lock()
	var dropped []peer.ID
	for id, cert := range m.certified {
		if cert.ID == member {
			dropped = append(dropped, id)
			delete(m.certified, id)
		}
	}
	m.mu.Unlock()
	m.disconnect(dropped)
}

// Renew replaces what is known of the cluster: from now on the new certificate is
// shown. The connections to members end, and each is asked for its certificate again.
func (m *Members) Renew(c *Cluster) {
	m.mu.Lock()
	dropped := slices.Collect(maps.Keys(m.certified))
	m.cluster = c
	clear(m.certified)
	m.mu.Unlock()
	m.disconnect(dropped)
}

func (m *Members) disconnect(ids []peer.ID) {
	for _, id := range ids {
		m.host.ConnManager().Unprotect(id, memberTag)
		if err := m.host.Network().ClosePeer(id); err != nil {
			m.log.Debug("close connections", "peer", id, "err", err)
		}
	}
}

// sweep drops the certified members that have been removed.
func (m *Members) sweep() {
	for _, cert := range m.Certified() {
		if m.roster.removed(cert.ID) {
			m.Drop(cert.ID)
		}
	}
}

func (m *Members) known(id peer.ID) (Certificate, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cert, ok := m.certified[id]
	return cert, ok
}

// isMember tells whether the peer is certified and not removed, asking nobody.
func (m *Members) isMember(id peer.ID) bool {
	cert, ok := m.known(id)
	return ok && !m.roster.removed(cert.ID)
}

// ask gets the peer's certificate, and remembers it if it is right.
func (m *Members) ask(ctx context.Context, id peer.ID) error {
	m.mu.Lock()
	cluster := m.cluster
	m.mu.Unlock()

	b, err := m.fetch(ctx, id)
	if err != nil {
		return fmt.Errorf("ask %s for its certificate: %w", id, err)
	}
	cert, err := cluster.Verify(b)
	if err != nil {
		return fmt.Errorf("peer %s: %w", id, err)
	}
	shown := cert.ID
	if m.data {
		shown = cert.DataID
	}
	if shown != id {
		return fmt.Errorf("peer %s shows the certificate of %s: %w", id, shown, ErrDenied)
	}
	if m.roster.removed(cert.ID) {
		return removedError(cert.ID)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cluster != cluster {
		return fmt.Errorf("peer %s: the cluster was renewed meanwhile", id)
	}
	m.certified[id] = cert
	m.host.ConnManager().Protect(id, memberTag)
	return nil
}

func (m *Members) fetch(ctx context.Context, id peer.ID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
	defer cancel()
	s, err := m.host.NewStream(network.WithNoDial(ctx, "certificate"), id, certificateProtocol)
	if notSpoken(err) {
		return nil, fmt.Errorf("it has none: %w", ErrDenied)
	}
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(s, maxSigned+1))
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return b, nil
}

// show writes this peer's certificate to one that asks.
func (m *Members) show(s network.Stream) {
	m.mu.Lock()
	b := m.cluster.Certificate
	m.mu.Unlock()
	if err := s.SetDeadline(time.Now().Add(certificateTimeout)); err != nil {
		s.Reset()
		return
	}
	if _, err := s.Write(b); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

// notSpoken tells whether err says that the other does not speak the protocol.
func notSpoken(err error) bool {
	var e multistream.ErrNotSupported[protocol.ID]
	return errors.As(err, &e)
}
