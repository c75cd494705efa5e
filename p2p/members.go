package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"
)

const memberTag = "member"

// Roster is what a peer's replicated state says about the members of its cluster.
// Its functions may be nil, and are called often and concurrently.
type Roster struct {
	// Members returns who was admitted, with the addresses given then.
	Members func() []peer.AddrInfo
	// Removed tells whether the peer with this (cluster host's) ID was a member and
	// is no more.
	Removed func(peer.ID) bool
	// Lists tells whether the peer with this ID is a member and has this data host.
	Lists func(id, dataID peer.ID) bool
	// ListsData tells whether a member has this data host.
	ListsData func(dataID peer.ID) bool
}

func (r Roster) members() []peer.AddrInfo {
	if r.Members == nil {
		return nil
	}
	return r.Members()
}

func (r Roster) lists(id, dataID peer.ID) bool { return r.Lists != nil && r.Lists(id, dataID) }

func (r Roster) listsData(dataID peer.ID) bool { return r.ListsData != nil && r.ListsData(dataID) }

func (r Roster) removed(id peer.ID) bool { return r.Removed != nil && r.Removed(id) }

// Members knows which peers of one host are certified members of the cluster, and
// shows this peer's own certificate to those that ask.
type Members struct {
	host   host.Host
	data   bool // the host is a data host: certificates must name its peers as such
	roster Roster
	log    *slog.Logger
	learn  func(shown [][]byte) // see Options

	mu        sync.Mutex
	cluster   *Cluster
	certified map[peer.ID]Certificate // by the peer's ID on this host
}

func newMembers(h host.Host, data bool, c *Cluster, r Roster, learn func([][]byte), log *slog.Logger) *Members {
	m := &Members{host: h, data: data, roster: r, learn: learn, log: log, cluster: c, certified: map[peer.ID]Certificate{}}
	if len(c.Certificate) > 0 {
		h.SetStreamHandler(certificateProtocol, m.show)
	}
	if !data {
		h.SetStreamHandler(renewalsProtocol, m.showRenewals)
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
// shown. The connections to peers end whose certificate does not count any more.
func (m *Members) Renew(c *Cluster) {
	m.mu.Lock()
	m.cluster = c
	shown := maps.Clone(m.certified)
	m.mu.Unlock()
	var dropped []peer.ID
	for id, cert := range shown {
		if !m.counts(c, cert) {
			dropped = append(dropped, id)
		}
	}
	m.mu.Lock()
	for _, id := range dropped {
		delete(m.certified, id)
	}
	m.mu.Unlock()
	m.disconnect(dropped)
}

// counts tells whether a certificate that was right under some key makes a member of c:
// under an earlier one it takes the word of the log.
func (m *Members) counts(c *Cluster, cert Certificate) bool {
	if cert.Incarnation != c.Incarnation {
		return false
	}
	return cert.Cluster.Equal(c.Key) || c.formerly(cert.Cluster) && m.roster.lists(cert.ID, cert.DataID)
}

// verify reads the certificate of a member of c.
func (m *Members) verify(c *Cluster, b []byte) (Certificate, error) {
	cert, err := c.Verify(b)
	if !errors.Is(err, ErrKey) {
		return cert, err
	}
	key := certifier(b)
	if !c.formerly(key) {
		return cert, err
	}
	if cert, err = VerifyCertificate(b, key, c.Incarnation); err == nil && !m.counts(c, cert) {
		err = fmt.Errorf("the certificate of %s is of a key of the cluster that was replaced: %w", cert.ID, ErrDenied)
	}
	return cert, err
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
	cluster := m.current()
	b, err := m.fetchCertificate(ctx, id)
	if err != nil {
		return err
	}
	cert, err := m.verify(cluster, b)
	if errors.Is(err, ErrKey) && !m.data {
		if cluster, cert, err = m.verifyRenewed(ctx, id, cluster, b); err != nil {
			return err
		}
	}
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

// notSpoken tells whether err says that the other does not speak the protocol.
func notSpoken(err error) bool {
	var e multistream.ErrNotSupported[protocol.ID]
	return errors.As(err, &e)
}
