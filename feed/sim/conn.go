package sim

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
)

// conn is one end of a connection.
type conn struct {
	from, to *node
	other    *conn
	stat     network.Stats
	closed   atomic.Bool

	mu      sync.Mutex
	streams []*stream
}

var _ network.Conn = (*conn)(nil)

// connect makes both ends of a connection.
func connect(from, to *node) (*conn, *conn) {
	now := time.Now()
	a := &conn{from: from, to: to, stat: network.Stats{Direction: network.DirOutbound, Opened: now}}
	b := &conn{from: to, to: from, stat: network.Stats{Direction: network.DirInbound, Opened: now}}
	a.other, b.other = b, a
	return a, b
}

// NewStream opens a stream; the other end hears of it with the first bytes.
func (c *conn) NewStream(context.Context) (network.Stream, error) {
	there, back := newPipe(), newPipe()
	s := &stream{conn: c, in: back, out: there, dir: network.DirOutbound}
	r := &stream{conn: c.other, in: there, out: back, dir: network.DirInbound}
	if !c.add(s) || !c.other.add(r) {
		s.Reset()
		return nil, network.ErrReset
	}
	go c.to.accept(r)
	return s, nil
}

// kept is what keeping the connection has cost its end so far.
func (c *conn) kept() Traffic {
	alive, distance := keepAliveEvery, distanceEvery
	if c.from.member && c.to.member {
		alive, distance = memberKeepAliveEvery, memberDistanceEvery
	}
	age := time.Since(c.stat.Opened)
	n := keepAliveWrites * frame * int64(age/alive+age/distance)
	return Traffic{In: n, Out: n}
}

func (c *conn) add(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return false
	}
	c.streams = append(c.streams, s)
	return true
}

func (c *conn) drop(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.streams, s); i >= 0 {
		c.streams = slices.Delete(c.streams, i, i+1)
	}
}

// Close ends both ends at once and all streams with them.
func (c *conn) Close() error {
	for _, end := range []*conn{c, c.other} {
		if !end.closed.CompareAndSwap(false, true) {
			continue
		}
		for _, s := range end.GetStreams() {
			s.Reset()
		}
		end.from.disconnected(end)
	}
	return nil
}

func (c *conn) GetStreams() []network.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]network.Stream, len(c.streams))
	for i, s := range c.streams {
		all[i] = s
	}
	return all
}

func (c *conn) CloseWithError(network.ConnErrorCode) error { return c.Close() }
func (c *conn) IsClosed() bool                             { return c.closed.Load() }
func (c *conn) As(any) bool                                { return false }
func (c *conn) ID() string                                 { return strconv.Itoa(c.to.number) }
func (c *conn) LocalPeer() peer.ID                         { return c.from.id }
func (c *conn) RemotePeer() peer.ID                        { return c.to.id }
func (c *conn) ConnState() network.ConnectionState         { return network.ConnectionState{} }
func (c *conn) LocalMultiaddr() multiaddr.Multiaddr        { return c.from.addr }
func (c *conn) RemoteMultiaddr() multiaddr.Multiaddr       { return c.to.addr }
func (c *conn) Scope() network.ConnScope                   { return &network.NullScope{} }
func (c *conn) Stat() network.ConnStats                    { return network.ConnStats{Stats: c.stat} }

func (c *conn) RemotePublicKey() crypto.PubKey {
	key, err := c.to.id.ExtractPublicKey()
	if err != nil {
		return nil
	}
	return key
}

// stream is one end of a stream.
type stream struct {
	conn     *conn
	in, out  *pipe
	dir      network.Direction
	protocol atomic.Value // protocol.ID
}

var _ network.Stream = (*stream)(nil)

func (s *stream) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *stream) Write(b []byte) (int, error) {
	err := s.out.send(b, func() time.Time { return s.conn.from.carry(s.conn.to, s.Protocol(), len(b)) })
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close lets what was written arrive.
func (s *stream) Close() error {
	s.out.finish()
	s.in.reset()
	s.conn.drop(s)
	return nil
}

func (s *stream) CloseWrite() error { s.out.finish(); return nil }
func (s *stream) CloseRead() error  { s.in.reset(); return nil }

func (s *stream) Reset() error {
	s.out.reset()
	s.in.reset()
	s.conn.drop(s)
	return nil
}

func (s *stream) ResetWithError(network.StreamErrorCode) error { return s.Reset() }

func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.change(func() { s.in.read = t })
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.change(func() { s.out.write = t })
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *stream) Protocol() protocol.ID {
	id, _ := s.protocol.Load().(protocol.ID)
	return id
}

func (s *stream) SetProtocol(id protocol.ID) error { s.protocol.Store(id); return nil }
func (s *stream) ID() string                       { return s.conn.ID() }
func (s *stream) Conn() network.Conn               { return s.conn }
func (s *stream) Stat() network.Stats {
	return network.Stats{Direction: s.dir, Opened: s.conn.stat.Opened}
}
func (s *stream) Scope() network.StreamScope { return &network.NullScope{} }
