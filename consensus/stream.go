package consensus

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// Protocol names raft's streams between peers.
const Protocol = "/pinfold/raft/1"

// Network gives streams to other members.
type Network interface {
	// Listen takes streams of protocol. Only those of members come through; their
	// RemoteAddr is the member's peer ID.
	Listen(protocol string) (net.Listener, error)
	Dial(ctx context.Context, p api.PeerID, protocol string) (net.Conn, error)
}

// A streamLayer is a Network as raft's transport wants it. A peer's address is its ID.
type streamLayer struct {
	net.Listener
	self api.PeerID
	net  Network

	ctx    context.Context // of the dials: it ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	conns  map[*trackedConn]struct{}
}

func newStreamLayer(self api.PeerID, n Network) (*streamLayer, error) {
	l, err := n.Listen(Protocol)
	if err != nil {
		return nil, err
	}
	s := &streamLayer{Listener: l, self: self, net: n, conns: make(map[*trackedConn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

// Dial implements raft.StreamLayer.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	p, err := api.ParsePeerID(string(address))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.net.Dial(ctx, p, Protocol)
	if err != nil {
		return nil, err
	}
	return s.track(c)
}

// Addr implements net.Listener.
func (s *streamLayer) Addr() net.Addr { return peerAddr(s.self.String()) }

// Close ends the listener and all streams: raft's transport leaves those it accepted
// open until the other side hangs up.
func (s *streamLayer) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.mu.Lock()
	s.closed = true
	open := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
	return err
}

func (s *streamLayer) track(c net.Conn) (net.Conn, error) {
	t := &trackedConn{Conn: c, s: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	s.conns[t] = struct{}{}
	return t, nil
}

// A trackedConn is closed with its layer.
type trackedConn struct {
	net.Conn
	s *streamLayer
}

func (c *trackedConn) Close() error {
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// A peerAddr is a peer ID in text form.
type peerAddr string

func (peerAddr) Network() string  { return "libp2p" }
func (a peerAddr) String() string { return string(a) }
