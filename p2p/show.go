package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	certificateProtocol protocol.ID = "/pinfold/certificate/1"
	// renewalsProtocol shows the renewals of the cluster's key, to anybody.
	renewalsProtocol protocol.ID = "/pinfold/renewals/1"
	// certificateTimeout bounds how long a peer may take to show either.
	certificateTimeout = 10 * time.Second
)

// show writes this peer's certificate to one that asks.
func (m *Members) show(s network.Stream) { m.answer(s, m.current().Certificate) }

// showRenewals writes the renewals that are known here, an array of byte strings.
func (m *Members) showRenewals(s network.Stream) {
	b, err := encMode.Marshal(append([][]byte{}, m.current().Renewals...))
	if err != nil {
		s.Reset()
		return
	}
	m.answer(s, b)
}

// current is the cluster as it is known now. It is not changed.
func (m *Members) current() *Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cluster
}

func (m *Members) answer(s network.Stream, b []byte) {
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

// fetchCertificate asks a connected peer for its certificate.
func (m *Members) fetchCertificate(ctx context.Context, id peer.ID) ([]byte, error) {
	b, err := m.fetch(ctx, id, certificateProtocol, maxSigned)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its certificate: %w", id, err)
	}
	return b, nil
}

// fetchRenewals asks a connected peer for the renewals of the cluster's key that it knows.
func (m *Members) fetchRenewals(ctx context.Context, id peer.ID) ([][]byte, error) {
	b, err := m.fetch(ctx, id, renewalsProtocol, maxRenewals*(maxSigned+4))
	var list [][]byte
	if err == nil {
		err = decMode.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for the renewals of the cluster's key: %w", id, err)
	}
	return list, nil
}

// AskRenewals has Options.Learn look at the renewals that a connected peer knows.
func (m *Members) AskRenewals(ctx context.Context, id peer.ID) error {
	shown, err := m.fetchRenewals(ctx, id)
	if err == nil && m.learn != nil {
		m.learn(shown)
	}
	return err
}

// verifyRenewed reads the certificate b of a peer, which is of another key than c's:
// right if the peer shows renewals that lead to it. Who does not learn of them, since it
// goes by its log, may be one that was away: it lets in who can catch it up.
func (m *Members) verifyRenewed(ctx context.Context, id peer.ID, c *Cluster, b []byte) (now *Cluster, _ Certificate, err error) {
	shown, err := m.fetchRenewals(ctx, id)
	if err != nil {
		return c, Certificate{}, err
	}
	next := c
	if m.learn != nil {
		m.learn(shown)
		c = m.current()
		next = c
	} else if next, err = c.Follow(shown); err != nil {
		return c, Certificate{}, fmt.Errorf("peer %s: %w: %w", id, err, ErrDenied)
	}
	cert, err := VerifyCertificate(b, next.Key, next.Incarnation)
	if err != nil {
		return c, Certificate{}, fmt.Errorf("peer %s: %w", id, err)
	}
	return c, cert, nil
}

// fetch reads what a connected peer shows on the protocol, at most max bytes of it and
// one more.
func (m *Members) fetch(ctx context.Context, id peer.ID, proto protocol.ID, max int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateTimeout)
	defer cancel()
	s, err := m.host.NewStream(network.WithNoDial(ctx, "certificate"), id, proto)
	if notSpoken(err) {
		return nil, fmt.Errorf("it has none: %w", ErrDenied)
	}
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(s, max+1))
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return b, nil
}
